//! A plot of a report: the load, how many nodes each policy had, and when it refused calls. Pure.

use std::fmt::Write as _;

use super::report::Report;
use super::tally::{Outcome, Point};

const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 70.0;
const BOTTOM: f64 = 60.0;
/// Told apart by people who see no red, too.
const COLOURS: [&str; 4] = ["#0072b2", "#009e73", "#d55e00", "#cc79a7"];
const LOAD: &str = "#c8ccd4";
/// Points of a line; a sample is 5 s.
const MOST_POINTS: usize = 800;

pub fn draw(report: &Report) -> String {
    let plot = Plot::of(report);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"22\"><tspan font-weight=\"bold\">{}</tspan>: {}</text>\n",
        escaped(report.trace),
        escaped(report.about),
    );
    svg.push_str(&plot.legend(&report.outcomes));
    svg.push_str(&plot.axes());
    if let Some(first) = report.outcomes.first() {
        svg.push_str(&plot.area(&first.series));
    }
    for (number, outcome) in report.outcomes.iter().enumerate() {
        svg.push_str(&plot.steps(&outcome.series, COLOURS[number % COLOURS.len()]));
        svg.push_str(&plot.refusals(&outcome.series, number, COLOURS[number % COLOURS.len()]));
    }
    svg.push_str("</svg>\n");
    svg
}

/// Where seconds and nodes are.
struct Plot {
    seconds: f64,
    nodes: f64,
}

impl Plot {
    fn of(report: &Report) -> Self {
        let points = || report.outcomes.iter().flat_map(|outcome| &outcome.series);
        let seconds = points().map(|point| point.seconds).max().unwrap_or(1) as f64;
        let nodes = points().map(|point| f64::from(point.nodes).max(point.load)).fold(1.0, f64::max);
        Self { seconds, nodes: nodes * 1.05 }
    }

    fn x(&self, seconds: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * seconds / self.seconds
    }

    fn y(&self, nodes: f64) -> f64 {
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * nodes / self.nodes
    }

    fn axes(&self) -> String {
        let mut svg = String::new();
        let (bottom, right) = (self.y(0.0), WIDTH - RIGHT);
        for nodes in ticks(self.nodes, 8.0) {
            let y = self.y(nodes);
            let _ = writeln!(
                svg,
                "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\" stroke=\"#e6e8ec\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{nodes}</text>",
                LEFT - 8.0,
                y + 4.0
            );
        }
        for minutes in ticks(self.seconds / 60.0, 12.0) {
            let x = self.x(minutes * 60.0);
            let _ = writeln!(
                svg,
                "<line x1=\"{x:.1}\" y1=\"{bottom:.1}\" x2=\"{x:.1}\" y2=\"{:.1}\" stroke=\"#444444\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{minutes}</text>",
                bottom + 5.0,
                bottom + 20.0
            );
        }
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" y1=\"{bottom:.1}\" x2=\"{right}\" y2=\"{bottom:.1}\" stroke=\"#444444\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">minutes</text>\
             <text x=\"16\" y=\"{:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 16 {:.1})\">nodes</text>",
            f64::midpoint(LEFT, right),
            HEIGHT - 12.0,
            f64::midpoint(TOP, bottom),
            f64::midpoint(TOP, bottom),
        );
        svg
    }

    fn legend(&self, outcomes: &[Outcome]) -> String {
        let mut svg = format!(
            "<rect x=\"{LEFT}\" y=\"38\" width=\"18\" height=\"12\" fill=\"{LOAD}\"/><text x=\"{}\" y=\"49\">load</text>\n",
            LEFT + 24.0
        );
        let each = (self.x(self.seconds) - LEFT - 90.0) / outcomes.len().max(1) as f64;
        for (number, outcome) in outcomes.iter().enumerate() {
            let x = LEFT + 90.0 + each * number as f64;
            let colour = COLOURS[number % COLOURS.len()];
            let _ = writeln!(
                svg,
                "<line x1=\"{x:.1}\" y1=\"44\" x2=\"{:.1}\" y2=\"44\" stroke=\"{colour}\" stroke-width=\"2.5\"/>\
                 <text x=\"{:.1}\" y=\"49\">{}, {} refused (×)</text>",
                x + 22.0,
                x + 28.0,
                escaped(&outcome.policy),
                outcome.refused
            );
        }
        svg
    }

    fn area(&self, series: &[Point]) -> String {
        let points: String = thinned(series)
            .map(|point| format!("{:.1},{:.1} ", self.x(point.seconds as f64), self.y(point.load)))
            .collect();
        let ends = (self.x(first_second(series)), self.x(self.seconds), self.y(0.0));
        format!(
            "<polygon fill=\"{LOAD}\" points=\"{:.1},{:.1} {points}{:.1},{:.1}\"/>\n",
            ends.0, ends.2, ends.1, ends.2
        )
    }

    fn steps(&self, series: &[Point], colour: &str) -> String {
        let mut path = String::new();
        let mut last = None;
        for point in series.iter().filter(|point| last.replace(point.nodes) != Some(point.nodes)) {
            let (x, y) = (self.x(point.seconds as f64), self.y(f64::from(point.nodes)));
            let _ = if path.is_empty() { write!(path, "M{x:.1} {y:.1}") } else { write!(path, "H{x:.1}V{y:.1}") };
        }
        let end = self.x(self.seconds);
        format!("<path fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" d=\"{path}H{end:.1}\"/>\n")
    }

    /// A row of marks for each policy, above the time axis.
    fn refusals(&self, series: &[Point], row: usize, colour: &str) -> String {
        let y = self.y(0.0) - 6.0 - 9.0 * row as f64;
        let mut last: Option<f64> = None;
        let mut path = String::new();
        for x in series.iter().filter(|point| point.refused > 0).map(|point| self.x(point.seconds as f64)) {
            if last.is_none_or(|last| x - last >= 4.0) {
                let _ = write!(path, "M{:.1} {:.1}l6 6m0 -6l-6 6", x - 3.0, y - 3.0);
                last = Some(x);
            }
        }
        if path.is_empty() {
            return path;
        }
        format!("<path fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" d=\"{path}\"/>\n")
    }
}

fn first_second(series: &[Point]) -> f64 {
    series.first().map_or(0.0, |point| point.seconds as f64)
}

fn thinned(series: &[Point]) -> impl Iterator<Item = &Point> {
    series.iter().step_by((series.len() / MOST_POINTS).max(1))
}

/// Round numbers from 0 to `most`, at most about so many: steps of 1, 2 or 5 and their tens.
fn ticks(most: f64, count: f64) -> Vec<f64> {
    let rough = (most / count).max(f64::MIN_POSITIVE);
    let ten = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * ten).into_iter().find(|step| *step >= rough).unwrap_or(rough);
    let step = step.max(1.0);
    (0..100_u32).map(|n| f64::from(n) * step).take_while(|tick| *tick <= most).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::tally::Cuts;

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(ticks(17.0, 8.0), [0.0, 5.0, 10.0, 15.0]);
        assert_eq!(ticks(3.0, 8.0), [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(ticks(120.0, 12.0).len(), 13);
    }

    #[test]
    fn a_plot_holds_every_policy_and_its_refusals() {
        let point = |seconds, nodes, refused| Point { seconds, load: 1.0, nodes, desired: vec![nodes], refused };
        let outcome = |policy: &str| Outcome {
            policy: policy.into(),
            calls: 9,
            refused: 2,
            cut: Cuts::default(),
            machine_hours: 1.0,
            mean_percent: 50.0,
            peak_percent: 60.0,
            lowest: 2,
            highest: 3,
            turns: 0,
            regions: Vec::new(),
            series: vec![point(5, 2, 0), point(10, 3, 2), point(15, 3, 0)],
        };
        let report = Report { trace: "t", about: "a < b", seed: 1, outcomes: vec![outcome("x & y"), outcome("z")] };
        let svg = draw(&report);
        assert!(svg.contains("a &lt; b") && svg.contains("x &amp; y, 2 refused") && svg.contains(">minutes<"), "{svg}");
        assert_eq!(svg.matches("m0 -6").count(), 2, "a mark for each policy");
        assert_eq!(svg.matches("stroke-width=\"2\"").count(), 2, "a line for each policy");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
