//! Timers of a manifest: the moments at which a plugin gets an event `djangobot.timer`.
//!
//! A timer's moments depend on the clock alone: all hosts find the same ones, and a restart changes none. A moment at
//! which no host runs is not made up for.

use serde::Deserialize;

/// The most timers of one plugin.
pub(super) const MAX_TIMERS: usize = 32;
/// The longest name of a timer, in bytes.
const MAX_NAME: usize = 64;
/// The longest time from one moment to the next.
const MAX_EVERY: u64 = 366 * DAY;
/// So many days are searched for the next moment: 29 February comes every eight years at worst.
const MAX_DAYS: u64 = 8 * 366;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A timer: `{ name = "tick", every = "5m" }`, or `{ name = "monday", cron = "0 9 * * mon" }`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "TimerText")]
pub struct Timer {
    /// Its name, which its events have at `/name`.
    pub name: String,
    schedule: Schedule,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TimerText {
    name: String,
    every: Option<String>,
    cron: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Schedule {
    /// At the multiples of so many milliseconds since the Unix epoch.
    Every(u64),
    Cron(Cron),
}

/// The five fields of a cron line, in UTC. Each is a set of numbers: bit `n` stands for `n`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    /// 0 is Sunday.
    weekdays: u64,
    /// Whether both days and weekdays are restricted: then one of them is enough, as cron has it.
    is_either_day: bool,
}

impl Timer {
    /// The first moment after `now_ms`; both are Unix milliseconds.
    pub fn next_after(&self, now_ms: u64) -> Option<u64> {
        match &self.schedule {
            Schedule::Every(every) => (now_ms / every + 1).checked_mul(*every),
            Schedule::Cron(cron) => cron.next_after(now_ms),
        }
    }
}

impl TryFrom<TimerText> for Timer {
    type Error = String;

    fn try_from(text: TimerText) -> Result<Self, String> {
        let TimerText { name, every, cron } = text;
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(fits) {
            return Err(format!(
                "{name:?} can't be the name of a timer: it must have letters, digits, `-`, `_` and `.`, {MAX_NAME} at most"
            ));
        }
        let schedule = match (every, cron) {
            (Some(every), None) => Schedule::Every(milliseconds(&every)?),
            (None, Some(line)) => {
                let cron = Cron::parse(&line).map_err(|why| format!("cron {line:?}: {why}"))?;
                if cron.next_after(0).is_none() {
                    return Err(format!("cron {line:?} names a day that never comes"));
                }
                Schedule::Cron(cron)
            }
            _ => {
                return Err(format!(
                    "the timer {name:?} must have `every`, such as \"5m\", or `cron`, such as \"0 9 * * mon-fri\", and not both"
                ));
            }
        };
        Ok(Self { name, schedule })
    }
}

/// Reads a time such as `30s`, `5m`, `12h` or `7d`.
fn milliseconds(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!(
            "every {text:?} must be a number of seconds, minutes, hours or days, from \"1s\" to \"366d\""
        )
    };
    let unit = match text.chars().last() {
        Some('s') => SECOND,
        Some('m') => MINUTE,
        Some('h') => HOUR,
        Some('d') => DAY,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    let every = number.checked_mul(unit).ok_or_else(wrong)?;
    match (SECOND..=MAX_EVERY).contains(&every) {
        true => Ok(every),
        false => Err(wrong()),
    }
}

const MONTHS: &[&str] = &[
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Cron {
    fn parse(line: &str) -> Result<Self, String> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            return Err("it must have five fields: minute, hour, day, month and weekday".into());
        };
        let mut on = set(weekdays, 0, 7, 0, WEEKDAYS)?;
        // Sunday is 0, and 7 as well.
        if on & 1 << 7 != 0 {
            on = on & !(1 << 7) | 1;
        }
        Ok(Self {
            minutes: set(minutes, 0, 59, 0, &[])?,
            hours: set(hours, 0, 23, 0, &[])?,
            days: set(days, 1, 31, 1, &[])?,
            months: set(months, 1, 12, 1, MONTHS)?,
            weekdays: on,
            is_either_day: !days.starts_with('*') && !weekdays.starts_with('*'),
        })
    }

    fn next_after(&self, now_ms: u64) -> Option<u64> {
        let first = now_ms / MINUTE + 1;
        let (first_day, minute_of_day) = (first / (24 * 60), first % (24 * 60));
        (0..=MAX_DAYS).find_map(|ahead| {
            let day = first_day + ahead;
            if !self.has_day(day) {
                return None;
            }
            let from = if ahead == 0 { minute_of_day } else { 0 };
            let minute = (from..24 * 60).find(|minute| {
                self.hours >> (minute / 60) & 1 == 1 && self.minutes >> (minute % 60) & 1 == 1
            })?;
            Some((day * 24 * 60 + minute) * MINUTE)
        })
    }

    /// Whether a day, counted from 1970-01-01, is one of the schedule's.
    fn has_day(&self, day: u64) -> bool {
        let (month, of_month) = month_and_day(day);
        let is_day = self.days >> of_month & 1 == 1;
        // 1970-01-01 was a Thursday.
        let is_weekday = self.weekdays >> ((day + 4) % 7) & 1 == 1;
        self.months >> month & 1 == 1
            && match self.is_either_day {
                true => is_day || is_weekday,
                false => is_day && is_weekday,
            }
    }
}

/// Reads a field: numbers, ranges and steps, with commas between them. `names` stand for the numbers from `first` on.
fn set(field: &str, least: u64, most: u64, first: u64, names: &[&str]) -> Result<u64, String> {
    let mut numbers = 0;
    for part in field.split(',') {
        let wrong = || {
            format!(
                "{part:?} must be a number from {least} to {most}, a range such as 1-5, or * or a range with a step such as */10"
            )
        };
        let number = |text: &str| {
            let lower = text.to_ascii_lowercase();
            let named = names.iter().zip(first..).find(|(name, _)| **name == lower);
            let number = match named {
                Some((_, number)) => number,
                None => text.parse().map_err(|_| wrong())?,
            };
            match (least..=most).contains(&number) {
                true => Ok(number),
                false => Err(wrong()),
            }
        };
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, step.parse::<usize>().map_err(|_| wrong())?),
            None => (part, 1),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (least, most),
            Some((from, to)) => (number(from)?, number(to)?),
            None if step == 1 => (number(range)?, number(range)?),
            None => (number(range)?, most),
        };
        if step == 0 || from > to {
            return Err(wrong());
        }
        for number in (from..=to).step_by(step) {
            numbers |= 1 << number;
        }
    }
    Ok(numbers)
}

/// The month, from 1, and the day of the month, from 1, of a day counted from 1970-01-01: Howard Hinnant's
/// `civil_from_days`, in which years begin in March so that a leap day is the last of its year.
fn month_and_day(day: u64) -> (u64, u64) {
    let day = day + 719_468;
    let of_era = day % 146_097;
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    (if month < 10 { month + 3 } else { month - 9 }, of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timer(key: &str, value: &str) -> Result<Timer, String> {
        let text = |is: bool| is.then(|| value.to_owned());
        Timer::try_from(TimerText {
            name: "t".into(),
            every: text(key == "every"),
            cron: text(key == "cron"),
        })
    }

    /// 2026-11-29 12:34:56 UTC, a Sunday.
    const NOW: u64 = 1_795_955_696_000;

    #[test]
    fn a_timer_is_due_at_moments_that_depend_on_the_clock_alone() {
        let check = |key, value, expect: &[u64]| {
            let timer = timer(key, value).unwrap();
            let mut now = NOW;
            for expect in expect {
                now = timer.next_after(now).unwrap();
                assert_eq!(now, *expect, "{value}");
            }
        };
        let at = |day: u64, hour: u64, minute: u64| {
            // Days from 2026-11-29.
            (NOW / DAY + day) * DAY + hour * HOUR + minute * MINUTE
        };
        check("every", "30s", &[NOW + 4_000, NOW + 34_000]);
        check("every", "5m", &[at(0, 12, 35), at(0, 12, 40)]);
        check("every", "1d", &[at(1, 0, 0), at(2, 0, 0)]);
        check("cron", "* * * * *", &[at(0, 12, 35), at(0, 12, 36)]);
        check("cron", "*/20 * * * *", &[at(0, 12, 40), at(0, 13, 0)]);
        check(
            "cron",
            "0 9 * * mon-fri",
            &[
                at(1, 9, 0),
                at(2, 9, 0),
                at(3, 9, 0),
                at(4, 9, 0),
                at(5, 9, 0),
                at(8, 9, 0),
            ],
        );
        check(
            "cron",
            "15,45 8-9 * * 7",
            &[at(7, 8, 15), at(7, 8, 45), at(7, 9, 15)],
        );
        check("cron", "0 0 1 jan *", &[at(33, 0, 0), at(33 + 365, 0, 0)]);
        check("cron", "0 0 1 * sun", &[at(2, 0, 0), at(7, 0, 0)]);
        // The next 29 February is in 2028.
        check("cron", "0 0 29 2 *", &[at(31 + 1 + 365 + 31 + 29, 0, 0)]);
    }

    #[test]
    fn a_timer_that_can_not_be_read_says_what_to_write() {
        let check = |key, value, expect: &str| {
            let error = timer(key, value).unwrap_err();
            assert!(error.contains(expect), "{error}");
        };
        for every in [
            "",
            "5",
            "0s",
            "-1m",
            "367d",
            "5 m",
            "99999999999999999999d",
            "1w",
        ] {
            check("every", every, "from \"1s\" to \"366d\"");
        }
        check("cron", "* * * *", "five fields");
        check("cron", "60 * * * *", "from 0 to 59");
        check("cron", "5-1 * * * *", "from 0 to 59");
        check("cron", "*/0 * * * *", "from 0 to 59");
        check("cron", "* * * mai *", "from 1 to 12");
        check("cron", "0 0 30 2 *", "never comes");
        check("neither", "", "must have `every`");
    }
}
