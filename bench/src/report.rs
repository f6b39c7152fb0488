//! What a run measured: a table for people, and a list in JSON for programs.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use tabled::Tabled;
use tabled::builder::Builder;
use tabled::settings::Style;

use crate::Failure;

/// What a figure has to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// So many times its peer, or more.
    RatioAtLeast(f64),
    /// So many times its peer, or less.
    RatioAtMost(f64),
    /// So much, or more.
    AtLeast(f64),
    /// So much, or less.
    AtMost(f64),
}

/// One line of the table: the median of some runs, beside what it is compared with.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// The median; nothing where it could not be measured.
    pub value: Option<f64>,
    /// Of the value, and of the peer's.
    pub unit: &'static str,
    /// What it is compared with, or why nothing could be measured.
    pub peer: Option<String>,
    /// The peer's median in the same run.
    pub peer_value: Option<f64>,
    /// The median of value by peer's value.
    pub ratio: Option<f64>,
    /// What it has to reach, in words.
    pub goal: Option<String>,
    /// Whether it does.
    pub met: Option<bool>,
    /// How many times it was measured.
    pub runs: usize,
    /// The least of them.
    pub min: Option<f64>,
    /// The same as `value`.
    pub median: Option<f64>,
    /// The most of them.
    pub max: Option<f64>,
}

impl Figure {
    /// A figure that was measured some times.
    pub fn new(name: impl Into<String>, unit: &'static str, runs: &[f64]) -> Self {
        let sorted = sorted(runs);
        Self {
            name: name.into(),
            value: median(runs),
            unit,
            peer: None,
            peer_value: None,
            ratio: None,
            goal: None,
            met: None,
            runs: runs.len(),
            min: sorted.first().copied(),
            median: median(runs),
            max: sorted.last().copied(),
        }
    }

    /// A figure that cannot be measured here.
    pub fn missing(name: impl Into<String>, unit: &'static str, why: impl Into<String>) -> Self {
        Self { peer: Some(why.into()), ..Self::new(name, unit, &[]) }
    }

    /// Compares it with a peer. Where both were measured equally often, run is compared with run, so that what
    /// slows the machine down for a while slows both.
    pub fn beside(mut self, peer: impl Into<String>, own: &[f64], theirs: &[f64]) -> Self {
        self.peer = Some(peer.into());
        self.peer_value = median(theirs);
        self.ratio = if own.len() == theirs.len() {
            median(&own.iter().zip(theirs).map(|(own, their)| own / their).collect::<Vec<_>>())
        } else {
            self.value.zip(self.peer_value).map(|(own, their)| own / their)
        };
        self
    }

    /// Sets the goal.
    pub fn goal(mut self, goal: Goal) -> Self {
        let (text, met) = match goal {
            Goal::RatioAtLeast(least) => (format!("{least} times"), self.ratio.map(|ratio| ratio >= least)),
            Goal::RatioAtMost(most) => {
                (format!("at most {most} times"), self.ratio.map(|ratio| ratio <= most))
            }
            Goal::AtLeast(least) => {
                (format!("{} {}", number(least), self.unit), self.value.map(|value| value >= least))
            }
            Goal::AtMost(most) => {
                (format!("at most {} {}", number(most), self.unit), self.value.map(|value| value <= most))
            }
        };
        (self.goal, self.met) = (Some(text), met);
        self
    }
}

fn sorted(runs: &[f64]) -> Vec<f64> {
    let mut sorted = runs.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The middle one; of an even number the mean of the two in the middle.
pub fn median(runs: &[f64]) -> Option<f64> {
    let sorted = sorted(runs);
    let (middle, count) = (sorted.len() / 2, sorted.len());
    match count {
        0 => None,
        _ if count % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// Three digits, or all that stand before the point, in groups.
pub fn number(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude >= 100.0 {
        let digits = format!("{value:.0}");
        let mut text = String::new();
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place) % 3 == 0 && !text.ends_with('-') {
                text.push(',');
            }
            text.push(digit);
        }
        text
    } else if magnitude >= 10.0 {
        format!("{value:.1}")
    } else if magnitude >= 1.0 || magnitude == 0.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.3}")
    }
}

#[derive(Tabled)]
struct Row {
    #[tabled(rename = "Figure")]
    name: String,
    #[tabled(rename = "Median")]
    value: String,
    #[tabled(rename = "Least–most (runs)")]
    spread: String,
    #[tabled(rename = "Beside")]
    peer: String,
    #[tabled(rename = "Ratio")]
    ratio: String,
    #[tabled(rename = "Goal")]
    goal: String,
    #[tabled(rename = "Met")]
    met: &'static str,
}

impl From<&Figure> for Row {
    fn from(figure: &Figure) -> Self {
        let with_unit = |value: f64| format!("{} {}", number(value), figure.unit);
        let spread = match (figure.min, figure.max) {
            (Some(min), Some(max)) if figure.runs > 1 => {
                format!("{}–{} ({})", number(min), number(max), figure.runs)
            }
            _ => String::new(),
        };
        let peer = match (&figure.peer, figure.peer_value) {
            (Some(peer), Some(value)) => format!("{peer}: {}", number(value)),
            (Some(peer), None) => peer.clone(),
            (None, _) => String::new(),
        };
        Self {
            name: figure.name.clone(),
            value: figure.value.map_or_else(|| "–".to_owned(), with_unit),
            spread,
            peer,
            ratio: figure.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            goal: figure.goal.clone().unwrap_or_default(),
            met: match figure.met {
                Some(true) => "yes",
                Some(false) => "NO",
                None => "",
            },
        }
    }
}

/// Prints the table, and writes the list.
pub fn publish(figures: &[Figure], json: &Path) -> Result<(), Failure> {
    let mut table = Builder::default();
    table.push_record(Row::headers());
    for figure in figures {
        table.push_record(Row::from(figure).fields());
    }
    writeln!(io::stdout().lock(), "{}", table.build().with(Style::sharp()))?;
    let mut text = serde_json::to_string_pretty(figures)?;
    text.push('\n');
    Ok(fs::write(json, text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_its_median_and_is_compared_run_by_run() {
        let (own, theirs) = ([10.0, 40.0, 30.0], [10.0, 80.0, 20.0]);
        let figure = Figure::new("speed", "m/s", &own).beside("other", &own, &theirs);
        assert_eq!((figure.value, figure.min, figure.max), (Some(30.0), Some(10.0), Some(40.0)));
        assert_eq!((figure.peer_value, figure.ratio), (Some(20.0), Some(1.0)));
        let met = |goal| figure.clone().goal(goal).met;
        assert_eq!(met(Goal::RatioAtLeast(1.0)), Some(true));
        assert_eq!(met(Goal::RatioAtMost(0.9)), Some(false));
        assert_eq!(met(Goal::AtLeast(31.0)), Some(false));
        assert_eq!(met(Goal::AtMost(31.0)), Some(true));
        assert_eq!(Figure::missing("x", "s", "why").goal(Goal::AtMost(1.0)).met, None);
    }

    #[test]
    fn numbers_are_written_for_people() {
        let shown = [0.0, 0.0123, 3.456, 45.67, 456.7, 1_234_567.0].map(number);
        assert_eq!(shown, ["0.00", "0.012", "3.46", "45.7", "457", "1,234,567"]);
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
    }
}
