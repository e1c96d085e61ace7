//! `crayon demo` and `crayon report`: both run the program's own commands.

mod support;

use support::Place;

#[test]
fn a_tour_shows_every_part() {
    let place = Place::new();
    let tour = place.json(&["demo", "-o", "tour"]);
    let steps = tour["steps"].as_array().unwrap();
    let of = |name: &str| -> Vec<&serde_json::Value> {
        steps.iter().filter(|step| step["step"] == name).collect()
    };
    for name in ["ask", "customize", "read", "stress", "route", "pictures"] {
        assert!(!of(name).is_empty(), "{name}");
    }
    assert_eq!(of("customize")[2]["result"]["text"], "smart home");
    assert!(of("read")[0]["result"]["text"].as_str().unwrap().contains("4812"));
    assert!(of("read")[0]["result"]["tokens"]["evicted"].as_u64().unwrap() > 9000);
    assert_eq!(of("stress")[1]["result"]["text"], "340");
    assert_eq!(of("route")[0]["result"]["sure"], false);
    let found = &of("pictures")[2]["result"];
    assert_eq!(found["tokens"][1]["weight"], 0.0);
    let first = found["results"][0]["path"].as_str().unwrap();
    assert!(first.contains("-heart"), "{first}");
    assert!(place.path("tour/pictures/red-heart.png").exists());
}

#[test]
fn a_report_is_one_page_with_tables_and_pictures() {
    let place = Place::new();
    let report = place.json(&["report", "-o", "report"]);
    assert!(report["results"]["speed"]["decode_tok_s"].as_f64().unwrap() > 0.0);
    let page = std::fs::read_to_string(report["file"].as_str().unwrap()).unwrap();
    assert_eq!(page.matches("<h2>").count(), report["results"].as_object().unwrap().len());
    assert!(page.matches("<svg").count() >= 2);
}
