//! One chart as SVG: a quantity over the message size, both logarithmic, one line for each curve.
//!
//! Colours come from the style sheet, so that they follow dark mode; dashes and markers stand in the drawing, and tell the curves
//! apart without colour.

use super::axis::{Axis, Base, Tick, has_place};
use super::text::{escape, number};
use super::{Curve, Limit, Point};

/// The drawing's own units: small, so that text stays readable where a phone shrinks it.
const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 340.0;
/// Where the frame is.
const LEFT: f64 = 60.0;
const RIGHT: f64 = WIDTH - 10.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = HEIGHT - 50.0;
/// Markers and labels at the ends of an axis need room inside the frame.
const ROOM: f64 = 12.0;
/// The label of the limit stands above its line.
const ROOM_ABOVE: f64 = 22.0;
/// A longer name of the limit would leave the drawing; the page tells it in full elsewhere.
const LIMIT_LETTERS: usize = 36;

/// The style sheet has so many.
pub(super) const COLOURS: usize = 8;
/// Outlines around 0, 0.
const MARKERS: [&str; 8] = [
    "M-3.5 0A3.5 3.5 0 1 1 3.5 0A3.5 3.5 0 1 1 -3.5 0Z",
    "M-3 -3H3V3H-3Z",
    "M0 -4.5L4 3H-4Z",
    "M0 -4.5L4 0L0 4.5L-4 0Z",
    "M0 4.5L4 -3H-4Z",
    "M0 -4.5V4.5M-4.5 0H4.5",
    "M-3.5 -3.5L3.5 3.5M-3.5 3.5L3.5 -3.5",
    "M-4 -3.5L4 3.5V-3.5L-4 3.5Z",
];
/// Prime to the number of markers, so that pairs repeat only after 40 curves.
const DASHES: [&str; 5] = ["none", "8 4", "2 3", "9 3 2 3", "14 3 2 3 2 3"];

/// The limit's entry in the legend.
pub(super) const LIMIT_KEY: &str = "<svg class=\"key\" viewBox=\"0 0 44 14\" aria-hidden=\"true\">\
     <path class=\"limit\" d=\"M0 7H44\"/></svg>";

/// What a chart shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quantity {
    /// How long a call takes.
    Latency,
    /// The bandwidth that links would need at least.
    BusBandwidth,
}

/// How a curve looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Style {
    colour: usize,
    dash: &'static str,
    marker: &'static str,
}

/// The two axes of a chart.
struct Plot {
    quantity: Quantity,
    sizes: Axis,
    values: Axis,
}

/// The chart with its caption, or a sentence where nothing can be drawn.
pub(super) fn figure(quantity: Quantity, curves: &[Curve], limit: Option<&Limit>) -> String {
    let points = curves.iter().flat_map(|curve| &curve.points);
    let left_out = points.filter(|point| !quantity.can_draw(point)).count();
    let drawing = Plot::covering(quantity, curves, limit).map_or_else(
        || "<p>No measurement has a place on logarithmic axes.</p>\n".to_owned(),
        |plot| plot.svg(curves, limit),
    );
    let note = match left_out {
        0 => String::new(),
        1 => "<p class=\"note\">1 measurement without a place on logarithmic axes is in the tables only.</p>\n"
            .to_owned(),
        _ => format!(
            "<p class=\"note\">{left_out} measurements without a place on logarithmic axes are in the tables only.</p>\n"
        ),
    };
    format!("<figure>\n<figcaption>{}</figcaption>\n{drawing}{note}</figure>\n", quantity.caption())
}

impl Quantity {
    fn caption(self) -> &'static str {
        match self {
            Self::Latency => "Latency over message size",
            Self::BusBandwidth => "Bus bandwidth over message size",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::Latency => "µs",
            Self::BusBandwidth => "GB/s",
        }
    }

    fn of(self, point: &Point) -> f64 {
        match self {
            Self::Latency => point.time_us,
            Self::BusBandwidth => point.bus_bw,
        }
    }

    fn can_draw(self, point: &Point) -> bool {
        point.bytes > 0 && has_place(self.of(point))
    }
}

impl Style {
    /// The look of the curve with this number; the first 320 differ.
    pub(super) fn of(index: usize) -> Self {
        let round = index / (MARKERS.len() * DASHES.len());
        Self {
            colour: index % COLOURS,
            dash: DASHES[index % DASHES.len()],
            marker: MARKERS[(index + round) % MARKERS.len()],
        }
    }

    /// A piece of the curve, for the legend.
    pub(super) fn key(self) -> String {
        let Self { colour, dash, marker } = self;
        format!(
            "<svg class=\"key c{colour}\" viewBox=\"0 0 44 14\" aria-hidden=\"true\">\
             <path class=\"line\" stroke-dasharray=\"{dash}\" d=\"M0 7H44\"/>\
             <path class=\"marker\" transform=\"translate(22 7)\" d=\"{marker}\"/></svg>"
        )
    }
}

impl Plot {
    fn covering(quantity: Quantity, curves: &[Curve], limit: Option<&Limit>) -> Option<Self> {
        let points = || curves.iter().flat_map(|curve| &curve.points).filter(|point| quantity.can_draw(point));
        let sizes = points().map(|point| point.bytes as f64);
        let sizes = Axis::covering(Base::Two, sizes, LEFT + ROOM, RIGHT - ROOM)?;
        let values = points().map(|point| quantity.of(point)).chain(limit.map(|limit| limit.gb_s));
        let values = Axis::covering(Base::Ten, values, BOTTOM - ROOM, TOP + ROOM_ABOVE)?;
        Some(Self { quantity, sizes, values })
    }

    fn svg(&self, curves: &[Curve], limit: Option<&Limit>) -> String {
        let (caption, unit) = (self.quantity.caption(), self.quantity.unit());
        let middle = f64::midpoint(LEFT, RIGHT);
        let mut svg = format!(
            "<svg class=\"chart\" role=\"img\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" aria-label=\"{caption}, in {unit}, {} curves; \
             the numbers are in the tables below\">\n",
            curves.len()
        );
        self.sizes.ticks().iter().for_each(|tick| svg += &size_tick(tick));
        self.values.ticks().iter().for_each(|tick| svg += &value_tick(tick));
        svg += &format!(
            "<path class=\"frame\" d=\"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}\"/>\n\
             <text x=\"{LEFT}\" y=\"{}\" text-anchor=\"middle\">{unit}</text>\n\
             <text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">message size (bytes)</text>\n",
            TOP - 10.0,
            HEIGHT - 6.0,
        );
        curves.iter().enumerate().for_each(|(index, curve)| svg += &self.curve(index, curve));
        // Last, so that no curve hides them.
        curves.iter().flat_map(|curve| &curve.points).for_each(|point| svg += &self.ring(point));
        if let Some(limit) = limit.filter(|limit| has_place(limit.gb_s)) {
            svg += &self.limit(limit);
        }
        svg + "</svg>\n"
    }

    fn curve(&self, index: usize, curve: &Curve) -> String {
        let style = Style::of(index);
        let Style { colour, dash, .. } = style;
        let (mut line, mut markers) = (String::new(), String::new());
        // Where a measurement has no place, the line breaks rather than guesses.
        let mut connected = false;
        for point in &curve.points {
            if self.quantity.can_draw(point) {
                let (x, y) = self.place(point);
                line += &format!("{}{x:.2} {y:.2}", if connected { 'L' } else { 'M' });
                markers += &marker(style, curve, point, x, y);
            }
            connected = self.quantity.can_draw(point);
        }
        if line.is_empty() {
            return line;
        }
        format!(
            "<g class=\"curve curve-{index} c{colour}\">\n<path class=\"line\" stroke-dasharray=\"{dash}\" d=\"{line}\"/>\n{markers}</g>\n"
        )
    }

    /// What surrounds a point with wrong results.
    fn ring(&self, point: &Point) -> String {
        if !point.is_wrong() || !self.quantity.can_draw(point) {
            return String::new();
        }
        let (x, y) = self.place(point);
        format!("<circle class=\"ring\" cx=\"{x:.2}\" cy=\"{y:.2}\" r=\"8\"/>\n")
    }

    fn place(&self, point: &Point) -> (f64, f64) {
        (self.sizes.at(point.bytes as f64), self.values.at(self.quantity.of(point)))
    }

    fn limit(&self, limit: &Limit) -> String {
        let y = self.values.at(limit.gb_s);
        let mut name: String = limit.name.chars().take(LIMIT_LETTERS).collect();
        if name.len() < limit.name.len() {
            name.push('…');
        }
        let (title, gb_s) = (escape(&limit.in_words()), number(limit.gb_s));
        format!(
            "<g><title>{title}</title><path class=\"limit\" d=\"M{LEFT} {y:.2}H{RIGHT}\"/>\
             <text class=\"over\" x=\"{}\" y=\"{:.2}\">{}: {gb_s} GB/s</text></g>\n",
            LEFT + 6.0,
            y - 6.0,
            escape(&name),
        )
    }
}

fn marker(style: Style, curve: &Curve, point: &Point, x: f64, y: f64) -> String {
    format!(
        "<g transform=\"translate({x:.2} {y:.2})\"><title>{}\n{}</title><path class=\"marker\" d=\"{}\"/></g>\n",
        escape(&curve.name),
        point.in_words(),
        style.marker,
    )
}

fn size_tick(Tick { at, label }: &Tick) -> String {
    let short = BOTTOM + 4.0;
    let Some(label) = label else { return format!("<path class=\"frame\" d=\"M{at:.2} {BOTTOM}V{short}\"/>\n") };
    format!(
        "<path class=\"grid\" d=\"M{at:.2} {TOP}V{BOTTOM}\"/><path class=\"frame\" d=\"M{at:.2} {BOTTOM}V{}\"/>\
         <text x=\"{at:.2}\" y=\"{}\" text-anchor=\"middle\">{label}</text>\n",
        BOTTOM + 7.0,
        BOTTOM + 22.0,
    )
}

fn value_tick(Tick { at, label }: &Tick) -> String {
    let Some(label) = label else { return format!("<path class=\"grid faint\" d=\"M{LEFT} {at:.2}H{RIGHT}\"/>\n") };
    format!(
        "<path class=\"grid\" d=\"M{LEFT} {at:.2}H{RIGHT}\"/><text x=\"{}\" y=\"{:.2}\" text-anchor=\"end\">{label}</text>\n",
        LEFT - 7.0,
        at + 4.5,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn curve(points: &[(u64, f64)]) -> Curve {
        let points = points.iter().map(|&(bytes, value)| Point { bytes, time_us: value, bus_bw: value, wrong: None });
        Curve { name: "ring".to_owned(), points: points.collect() }
    }

    /// Where the markers are.
    fn places(figure: &str) -> Vec<(f64, f64)> {
        let number = |text: &str| text.parse::<f64>().expect("a coordinate");
        let transforms =
            figure.split("<g transform=\"translate(").skip(1).map(|after| after.split_once(')').expect("its end").0);
        transforms.map(|pair| pair.split_once(' ').expect("a pair")).map(|(x, y)| (number(x), number(y))).collect()
    }

    #[test]
    fn curves_are_told_apart_by_dash_and_marker_alone() {
        let shapes: HashSet<_> = (0..24).map(Style::of).map(|style| (style.dash, style.marker)).collect();
        assert_eq!(shapes.len(), 24);
        assert_eq!((0..320).map(Style::of).collect::<HashSet<_>>().len(), 320);
        assert_eq!((0..24).map(|index| Style::of(index).colour).collect::<HashSet<_>>().len(), COLOURS);
    }

    #[test]
    fn points_stand_on_their_decades_inside_the_frame() {
        let points: Vec<(u64, f64)> = (0..6).map(|power| (8 << (4 * power), 10_f64.powi(power))).collect();
        for quantity in [Quantity::Latency, Quantity::BusBandwidth] {
            let places = places(&figure(quantity, &[curve(&points)], None));
            assert_eq!((places[0], places[5]), ((LEFT + ROOM, BOTTOM - ROOM), (RIGHT - ROOM, TOP + ROOM_ABOVE)));
            for pair in places.windows(2) {
                let (right, up) = (pair[1].0 - pair[0].0, pair[0].1 - pair[1].1);
                assert!((right - (RIGHT - LEFT - 2.0 * ROOM) / 5.0).abs() < 0.011, "{places:?}");
                assert!((up - (BOTTOM - ROOM - TOP - ROOM_ABOVE) / 5.0).abs() < 0.011, "{places:?}");
            }
        }
    }

    #[test]
    fn one_point_is_drawn_within_the_frame() {
        let places = places(&figure(Quantity::Latency, &[curve(&[(1024, 3.0)])], None));
        let [(x, y)] = places[..] else { panic!("{places:?}") };
        assert!((LEFT..RIGHT).contains(&x) && (TOP..BOTTOM).contains(&y), "{places:?}");
    }

    #[test]
    fn a_line_breaks_where_a_point_has_no_place() {
        let figure =
            figure(Quantity::Latency, &[curve(&[(0, 1.0), (8, 1.0), (16, f64::NAN), (32, 2.0), (64, 4.0)])], None);
        let (_, line) = figure.split_once("stroke-dasharray=\"none\" d=\"").expect("a line");
        let (line, _) = line.split_once('"').expect("its end");
        assert_eq!(line.chars().filter(char::is_ascii_alphabetic).collect::<String>(), "MML");
        assert!(figure.contains("2 measurements without a place"));
    }

    #[test]
    fn nothing_to_draw_is_said() {
        for points in [[(0, 1.0)].as_slice(), &[(8, 0.0), (16, -1.0)]] {
            let figure = figure(Quantity::BusBandwidth, &[curve(points)], None);
            assert!(figure.contains("No measurement has a place") && !figure.contains("<svg"));
        }
    }

    #[test]
    fn the_limit_is_a_line_at_its_height() {
        let curves = [curve(&[(8, 1.0), (1024, 10.0)])];
        let limit = |gb_s| Limit { name: "memcpy & so on".to_owned(), gb_s };
        let figure = |gb_s| figure(Quantity::BusBandwidth, &curves, Some(&limit(gb_s)));
        let lines = |figure: &str| figure.matches("class=\"limit\"").count();
        let on_a_point = figure(10.0);
        let height = places(&on_a_point)[1].1;
        assert!(
            on_a_point.contains(&format!("<path class=\"limit\" d=\"M{LEFT} {height:.2}H{RIGHT}\"/>")),
            "{on_a_point}"
        );
        assert!(on_a_point.contains(">memcpy &amp; so on: 10.00 GB/s</text>"));
        // The axis reaches a limit that no point comes near.
        let above = figure(1000.0);
        assert!(lines(&above) == 1 && places(&above)[1].1 > height + 50.0);
        for none in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(lines(&figure(none)), 0, "{none}");
        }
    }
}
