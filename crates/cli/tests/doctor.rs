//! `crayon doctor` on this machine.

mod support;

use support::Place;

#[test]
fn a_machine_is_described() {
    let place = Place::new();
    let found = place.json(&["doctor", "--threads", "1"]);
    assert!(found["limit"]["bandwidth_gb_s"].as_f64() > Some(0.0), "{found}");
    assert!(found["limit"]["int8_gops"].as_f64() > Some(0.0), "{found}");
    assert!(found["memory"]["total"].as_u64() >= found["memory"]["available"].as_u64(), "{found}");
    assert_eq!((&found["threads"], &found["offline"]), (&1.into(), &"CRAYON_OFFLINE".into()));
    assert!(found["models"]["path"].as_str().unwrap().ends_with("home/models"), "{found}");
    let text = place.text(&["doctor"]);
    for word in ["processor", "kernels", "memory", "models", "forbidden by CRAYON_OFFLINE", "advice"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}
