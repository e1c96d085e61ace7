//! Dates as text: `2024-05-01T12:30:00`, whose beginnings can be compared.

/// Nanoseconds since 1970 as a date in UTC, or nothing beyond the years of four digits.
pub(crate) fn from_nanos(nanos: i64) -> String {
    let seconds = nanos.div_euclid(1_000_000_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days to a date of the Gregorian calendar: years that begin in March, in eras of 400 (H. Hinnant, chrono-compatible algorithms).
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// Seconds since 1970 of a date in UTC, or of the beginning of the year, month or day that is given.
#[cfg(feature = "qdrant")]
pub(crate) fn to_seconds(date: &str) -> Option<i64> {
    let number = |from: usize, len: usize, least: i64| match date.get(from..from + len) {
        Some(digits) => digits.parse::<u16>().ok().map(i64::from),
        None => Some(least),
    };
    let (year, month, day) = (number(0, 4, 0)?, number(5, 2, 1)?, number(8, 2, 1)?);
    if date.len() < 4 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (hour, minute, second) = (number(11, 2, 0)?, number(14, 2, 0)?, number(17, 2, 0)?);
    let (year, shifted) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (153 * shifted + 2) / 5
        + day
        - 1
        - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_709_251_199, "2024-02-29T23:59:59"),
            (-1, "1969-12-31T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            assert_eq!(from_nanos(seconds * 1_000_000_000), date);
            #[cfg(feature = "qdrant")]
            assert_eq!(to_seconds(date), Some(seconds));
        }
        #[cfg(feature = "qdrant")]
        for (part, date) in [
            ("2021", "2021-01-01T00:00:00"),
            ("2021-07", "2021-07-01"),
            ("2021-07-14T10", "2021-07-14T10:00"),
        ] {
            assert_eq!(to_seconds(part), to_seconds(date));
            assert!(
                to_seconds("202").is_none() && to_seconds("2021-xx").is_none() && to_seconds("").is_none()
            );
        }
    }
}
