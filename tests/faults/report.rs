//! The printed report: a line for each run, and a table of all.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::run::Outcome;
use crate::verdict::Verdict;

/// One run in a line, and what it broke below it.
pub(crate) fn line(outcome: &Outcome) -> String {
    let Outcome {
        plan,
        verdict,
        took,
        kept,
    } = outcome;
    let mut text = format!(
        "{} seed {} on {}: {} in {:.0} s",
        if verdict.broken.is_empty() {
            "ok    "
        } else {
            "FAILED"
        },
        plan.seed,
        plan.transport.name(),
        figures(verdict),
        took.as_secs_f64()
    );
    if verdict.broken.is_empty() {
        return text;
    }
    for broken in &verdict.broken {
        let _ = write!(text, "\n  {broken}");
    }
    let _ = write!(text, "\n  plan: {plan}");
    if let Some(kept) = kept {
        let _ = writeln!(text, "  logs and files: {}", kept.display());
    }
    let _ = write!(
        text,
        "  again: cargo xtask faults --seed {} --transport {} --seconds {}",
        plan.seed,
        plan.transport.name(),
        plan.length.as_secs()
    );
    text
}

fn figures(verdict: &Verdict) -> String {
    let again: usize = verdict.again.values().sum();
    let reported: usize = verdict.reported.values().sum();
    let mut text = format!(
        "{} of {} events handled, {again} again{}; {} of {} messages posted, {reported} reported{}; {} restarts",
        verdict.handled,
        verdict.events,
        causes(&verdict.again),
        verdict.posted,
        verdict.sends,
        causes(&verdict.reported),
        verdict.restarts
    );
    if verdict.lost_by_reader > 0 {
        let _ = write!(
            text,
            "; {} lost by the app's reader",
            verdict.lost_by_reader
        );
    }
    text
}

fn causes<K: std::fmt::Display>(causes: &BTreeMap<K, usize>) -> String {
    if causes.is_empty() {
        return String::new();
    }
    let list = causes
        .iter()
        .map(|(cause, count)| format!("{cause} {count}"))
        .collect::<Vec<_>>();
    format!(" ({})", list.join(", "))
}

/// All runs together.
pub(crate) fn table(outcomes: &[Outcome]) -> String {
    let sum = |figure: fn(&Verdict) -> usize| -> usize {
        outcomes.iter().map(|it| figure(&it.verdict)).sum()
    };
    let mut again: BTreeMap<&str, usize> = BTreeMap::new();
    let mut reported: BTreeMap<&str, usize> = BTreeMap::new();
    let mut faults: BTreeMap<&str, usize> = BTreeMap::new();
    for outcome in outcomes {
        for (cause, count) in &outcome.verdict.again {
            *again.entry(cause).or_default() += count;
        }
        for (error, count) in &outcome.verdict.reported {
            *reported.entry(error).or_default() += count;
        }
        let rights = outcome.plan.rights;
        for (kind, is_so) in [
            ("some subscriptions", rights.subscriptions.is_some()),
            ("history limited", rights.history_per_minute.is_some()),
        ] {
            *faults.entry(kind).or_default() += usize::from(is_so);
        }
        for step in &outcome.plan.steps {
            *faults.entry(step.fault.kind()).or_default() += 1;
        }
    }
    let failed: Vec<String> = outcomes
        .iter()
        .filter(|it| !it.verdict.broken.is_empty())
        .map(|it| format!("{} on {}", it.plan.seed, it.plan.transport.name()))
        .collect();
    let rows = [
        ("runs", outcomes.len().to_string()),
        (
            "failed",
            match failed.len() {
                0 => "none".to_owned(),
                count => format!("{count}: seeds {}", failed.join(", ")),
            },
        ),
        ("events", sum(|it| it.events).to_string()),
        ("handled", sum(|it| it.handled).to_string()),
        (
            "handled again",
            format!("{}{}", sum(|it| it.again.values().sum()), causes(&again)),
        ),
        (
            "lost by the app's reader",
            sum(|it| it.lost_by_reader).to_string(),
        ),
        (
            "given out of order by Slack",
            sum(|it| it.given_out_of_order).to_string(),
        ),
        ("messages sent", sum(|it| it.sends).to_string()),
        ("posted", sum(|it| it.posted).to_string()),
        (
            "reported as failed",
            format!(
                "{}{}",
                sum(|it| it.reported.values().sum()),
                causes(&reported)
            ),
        ),
        (
            "of these posted",
            sum(|it| it.reported_and_posted).to_string(),
        ),
        ("restarts of the host", sum(|it| it.restarts).to_string()),
    ];
    let faults = faults
        .iter()
        .map(|(kind, count)| (*kind, count.to_string()));
    let mut text = String::new();
    for (name, value) in rows
        .iter()
        .map(|(name, value)| (*name, value.clone()))
        .chain(faults)
    {
        let _ = writeln!(text, "{name:<28}{value}");
    }
    text
}
