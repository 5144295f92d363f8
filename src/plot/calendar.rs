//! Round places in time, in UTC: seconds to days, then months and years of the Gregorian calendar.

/// A round step in time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum TimeStep {
    /// So many milliseconds.
    Fixed { ms: i64 },
    /// So many months.
    Months(i64),
}

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Steps of fixed length in milliseconds, ascending.
const FIXED_MS: [i64; 29] = [
    1,
    2,
    5,
    10,
    20,
    50,
    100,
    200,
    500,
    SECOND_MS,
    2 * SECOND_MS,
    5 * SECOND_MS,
    10 * SECOND_MS,
    15 * SECOND_MS,
    30 * SECOND_MS,
    MINUTE_MS,
    2 * MINUTE_MS,
    5 * MINUTE_MS,
    10 * MINUTE_MS,
    15 * MINUTE_MS,
    30 * MINUTE_MS,
    HOUR_MS,
    2 * HOUR_MS,
    3 * HOUR_MS,
    6 * HOUR_MS,
    12 * HOUR_MS,
    DAY_MS,
    2 * DAY_MS,
    7 * DAY_MS,
];

/// Steps in months, ascending.
const MONTHS: [i64; 11] = [1, 2, 3, 6, 12, 24, 60, 120, 240, 600, 1_200];

/// A month's mean length.
const MONTH_S: f64 = 365.2425 * 86_400.0 / 12.0;

/// Seconds beyond which a time is told as a number: about the years -8,000 to 12,000.
const SECONDS_MAX: f64 = 3.15e11;

impl TimeStep {
    /// Returns whether a range in seconds lies in the years that the calendar tells.
    pub fn covers(low: f64, high: f64) -> bool {
        low.abs() < SECONDS_MAX && high.abs() < SECONDS_MAX
    }

    /// Returns the smallest step of at least so many seconds.
    pub fn at_least(seconds: f64) -> TimeStep {
        let fixed = FIXED_MS.iter().find(|ms| **ms as f64 >= seconds * 1e3);
        let months = || MONTHS.iter().find(|months| **months as f64 * MONTH_S >= seconds);
        match fixed {
            Some(ms) => TimeStep::Fixed { ms: *ms },
            None => TimeStep::Months(months().copied().unwrap_or(12_000)),
        }
    }

    /// Returns the steps, in seconds, from at or before `low` to at or behind `high`.
    pub fn enclosing(self, low: f64, high: f64) -> Vec<f64> {
        let first = match self {
            TimeStep::Fixed { ms } => (low * 1e3 / ms as f64).floor() as i64,
            TimeStep::Months(months) => {
                let (year, month, _) = civil((low / 86_400.0).floor() as i64);
                (year * 12 + month - 1).div_euclid(months)
            }
        };
        let mut values = vec![self.place(first)];
        while values.last().is_some_and(|last| *last < high) || values.len() < 2 {
            values.push(self.place(first + values.len() as i64));
        }
        values
    }

    fn place(self, at: i64) -> f64 {
        match self {
            TimeStep::Fixed { ms } => (at * ms) as f64 / 1e3,
            TimeStep::Months(months) => {
                let month = at * months;
                days(month.div_euclid(12), month.rem_euclid(12) + 1) as f64 * 86_400.0
            }
        }
    }

    /// Returns what stands beside the axis: the zone, and the day where the labels lack the year.
    pub fn note(self, low: f64) -> String {
        let (year, month, day) = civil((low / 86_400.0).floor() as i64);
        match self {
            TimeStep::Fixed { ms } if ms < DAY_MS => {
                format!("UTC, from {year:04}-{month:02}-{day:02}")
            }
            _ => "UTC".to_owned(),
        }
    }
}

/// Returns how a time in seconds reads beside others in steps of `step`.
pub(super) fn time_label(seconds: f64, step: TimeStep, several_days: bool) -> String {
    let ms = (seconds * 1e3).round() as i64;
    let (year, month, day) = civil(ms.div_euclid(DAY_MS));
    let within = ms.rem_euclid(DAY_MS);
    let (hour, minute) = (within / HOUR_MS, within / MINUTE_MS % 60);
    let second = within / SECOND_MS % 60;
    match step {
        TimeStep::Months(months) if months % 12 == 0 => format!("{year:04}"),
        TimeStep::Months(_) => format!("{year:04}-{month:02}"),
        TimeStep::Fixed { ms } if ms >= DAY_MS => format!("{year:04}-{month:02}-{day:02}"),
        TimeStep::Fixed { ms } if ms >= MINUTE_MS && several_days => {
            format!("{month:02}-{day:02} {hour:02}:{minute:02}")
        }
        TimeStep::Fixed { ms } if ms >= MINUTE_MS => format!("{hour:02}:{minute:02}"),
        TimeStep::Fixed { ms } if ms >= SECOND_MS => format!("{hour:02}:{minute:02}:{second:02}"),
        TimeStep::Fixed { .. } => {
            format!("{hour:02}:{minute:02}:{second:02}.{:03}", within % SECOND_MS)
        }
    }
}

/// Returns a time in seconds as it reads alone, to the second.
pub(super) fn whole_time(seconds: f64) -> String {
    if !TimeStep::covers(seconds, seconds) {
        return super::label::readable(seconds);
    }
    let seconds = seconds.round();
    let (year, month, day) = civil((seconds / 86_400.0).floor() as i64);
    let time = time_label(seconds, TimeStep::Fixed { ms: SECOND_MS }, false);
    format!("{year:04}-{month:02}-{day:02} {time}")
}

/// Returns the days from 1970-01-01 to the first of a month. Years are counted from March, so that
/// the leap day ends one, in eras of 400 years (146,097 days).
fn days(year: i64, month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Returns year, month and day of so many days since 1970-01-01.
fn civil(days_since: i64) -> (i64, i64, i64) {
    let days = days_since + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}
