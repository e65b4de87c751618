//! Measured curves as one HTML page that needs nothing besides itself: no script, no network.
//!
//! Pure: measurements in, text out. It is valid XML too, so that other tools can take numbers out of it.

mod axis;
mod chart;
mod text;

use crate::perf::sizes::short_size;
use chart::Quantity;
pub(crate) use text::escape;
use text::number;

/// Colours, spacing, dark mode and print.
pub(crate) const STYLE: &str = include_str!("page/style.css");

/// A browser that obeys this loads nothing, even if a name ever got past [`escape`].
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// Past so many curves each chart gets the page's whole width, with thinner lines.
const MANY: usize = 8;

/// All that a page shows.
#[derive(Clone, Debug)]
pub(crate) struct Page<'a> {
    /// What was measured, for example "serried perf all_reduce, 4 ranks".
    pub(crate) title: &'a str,
    /// Settings and machine: name and value.
    pub(crate) facts: &'a [(String, String)],
    /// What was measured. Curves of one name stay apart.
    pub(crate) curves: &'a [Curve],
    /// What bus bandwidth is compared with.
    pub(crate) limit: Option<Limit>,
}

/// The measurements of one algorithm, transport, type, operator and place, in increasing size.
#[derive(Clone, Debug)]
pub(crate) struct Curve {
    /// What sets it apart, for example "ring over tcp, float sum, out of place".
    pub(crate) name: String,
    /// One for each size.
    pub(crate) points: Vec<Point>,
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    /// The size of the message.
    pub(crate) bytes: u64,
    /// How long one call took, in microseconds.
    pub(crate) time_us: f64,
    /// The bus bandwidth in GB/s.
    pub(crate) bus_bw: f64,
    /// How many elements were wrong, if they were checked.
    pub(crate) wrong: Option<u64>,
}

/// The bandwidth that this machine cannot exceed, and what it was measured with.
#[derive(Clone, Debug)]
pub(crate) struct Limit {
    /// What it was measured with.
    pub(crate) name: String,
    /// In GB/s.
    pub(crate) gb_s: f64,
}

impl Page<'_> {
    /// The whole document.
    pub(crate) fn html(&self) -> String {
        let title = escape(self.title);
        let mut html = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\"/>\n\
             <title>{title}</title>\n<style>\n{STYLE}{}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n",
            self.pointing(),
        );
        html += &self.alarm();
        html += &self.facts();
        if self.curves.iter().all(|curve| curve.points.is_empty()) {
            html += "<p>Nothing was measured.</p>\n";
        } else {
            html += &self.legend();
            let many = if self.curves.len() > MANY { " many" } else { "" };
            html += &format!("<div class=\"charts{many}\">\n");
            html += &chart::figure(Quantity::Latency, self.curves, None);
            html += &chart::figure(Quantity::BusBandwidth, self.curves, self.limit.as_ref());
            html += "</div>\n";
            html += &self.tables();
        }
        html + "</main>\n</body>\n</html>\n"
    }

    /// The rules by which pointing at a curve's entry in the legend makes all others step back.
    fn pointing(&self) -> String {
        let rule = |index| {
            format!(
                "main:has(.legend a[href=\"#curve-{index}\"]:is(:hover, :focus-visible)) .curve:not(.curve-{index}) {{ opacity: .1; }}\n"
            )
        };
        (0..self.curves.len()).map(rule).collect()
    }

    /// Wrong results are said before anything else: how fast they came does not matter.
    fn alarm(&self) -> String {
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
        let wrong = points().filter(|point| point.is_wrong()).count();
        if wrong == 0 {
            return String::new();
        }
        format!(
            "<p class=\"alarm\"><strong>Wrong results</strong> in {wrong} of {} measurements</p>\n",
            points().count()
        )
    }

    fn facts(&self) -> String {
        let limit = self.limit.as_ref().map(|limit| ("bandwidth limit".to_owned(), limit.in_words()));
        let facts: String = self
            .facts
            .iter()
            .chain(&limit)
            .map(|(name, value)| format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(name), escape(value)))
            .collect();
        // An empty list is not valid HTML.
        if facts.is_empty() { facts } else { format!("<dl>\n{facts}</dl>\n") }
    }

    fn legend(&self) -> String {
        let curves = self.curves.iter().enumerate().map(|(index, curve)| {
            let key = chart::Style::of(index).key();
            format!("<li>{key}<a href=\"#curve-{index}\">{}</a></li>\n", escape(&curve.name))
        });
        let limit = self
            .limit
            .as_ref()
            .map(|limit| format!("<li>{}<span>{}</span></li>\n", chart::LIMIT_KEY, escape(&limit.name)));
        let entries: String = curves.chain(limit).collect();
        format!("<ul class=\"legend\" aria-label=\"Curves\">\n{entries}</ul>\n")
    }

    fn tables(&self) -> String {
        let tables: String = self.curves.iter().enumerate().map(|(index, curve)| curve.table(index)).collect();
        format!("<section>\n<h2>All numbers</h2>\n<div class=\"tables\">\n{tables}</div>\n</section>\n")
    }
}

impl Curve {
    fn table(&self, index: usize) -> String {
        const HEAD: &str = "<thead><tr><th scope=\"col\">size</th><th scope=\"col\">bytes</th>\
             <th scope=\"col\">time (µs)</th><th scope=\"col\">bus bandwidth (GB/s)</th><th scope=\"col\">wrong</th></tr></thead>";
        let (key, name) = (chart::Style::of(index).key(), escape(&self.name));
        let heading = format!("<h3 id=\"curve-{index}\">{key}<span>{name}</span></h3>");
        if self.points.is_empty() {
            return format!("<div class=\"numbers\">{heading}<p>Nothing was measured.</p></div>\n");
        }
        let rows: String = self.points.iter().map(Point::row).collect();
        // A box that scrolls is reached by keyboard only if it takes the focus.
        format!(
            "<div class=\"numbers\">{heading}\n<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-labelledby=\"curve-{index}\">\
             <table>{HEAD}\n<tbody>\n{rows}</tbody></table></div></div>\n"
        )
    }
}

impl Point {
    fn is_wrong(&self) -> bool {
        self.wrong.is_some_and(|wrong| wrong > 0)
    }

    fn row(&self) -> String {
        let Self { bytes, time_us, bus_bw, wrong } = *self;
        let (class, mark) = if self.is_wrong() { (" class=\"wrong\"", "✗ ") } else { ("", "") };
        let wrong = wrong.map_or("–".to_owned(), |wrong| wrong.to_string());
        format!(
            "<tr{class}><th scope=\"row\">{}</th><td>{bytes}</td><td>{}</td><td>{}</td><td>{mark}{wrong}</td></tr>\n",
            short_size(bytes),
            number(time_us),
            number(bus_bw),
        )
    }

    fn in_words(&self) -> String {
        let wrong = match self.wrong {
            None => "not checked".to_owned(),
            Some(0) => "none wrong".to_owned(),
            Some(wrong) => format!("{wrong} wrong"),
        };
        let (time, bus_bw) = (number(self.time_us), number(self.bus_bw));
        format!("{} ({} bytes)\n{time} µs\n{bus_bw} GB/s\n{wrong}", short_size(self.bytes), self.bytes)
    }
}

impl Limit {
    fn in_words(&self) -> String {
        format!("{}: {} GB/s", self.name, number(self.gb_s))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const HOSTILE: &str = "<script>alert('a & \"b\"')</script>\u{0}\n]]>-->";

    fn point(bytes: u64, time_us: f64, bus_bw: f64) -> Point {
        Point { bytes, time_us, bus_bw, wrong: Some(0) }
    }

    /// Sizes from 8 bytes to 128 MiB, a little different for each curve.
    fn curve(name: &str, index: usize) -> Curve {
        let points = (3..28).map(|power| {
            let (bytes, factor) = (1_u64 << power, 1.0 + index as f64 / 6.0);
            let time_us = factor * (1.7 + bytes as f64 / 9000.0);
            point(bytes, time_us, bytes as f64 * 1.5 / time_us / 1000.0)
        });
        Curve { name: name.to_owned(), points: points.collect() }
    }

    fn page(curves: &[Curve], limit: Option<Limit>) -> String {
        let facts = [("ranks".to_owned(), "4".to_owned())];
        let html = Page { title: "serried perf all_reduce", facts: &facts, curves, limit }.html();
        check(&html).expect(&html);
        html
    }

    fn limit(gb_s: f64) -> Option<Limit> {
        Some(Limit { name: "memcpy by 4 threads".to_owned(), gb_s })
    }

    /// Finds what makes a document ill-formed: tags that do not match, bare attributes, `<` or `&` in text, repeated identifiers.
    fn check(html: &str) -> Result<(), String> {
        let mut rest = html.strip_prefix("<!DOCTYPE html>\n").ok_or("no document type")?;
        let (mut open, mut identifiers) = (Vec::new(), HashSet::new());
        while let Some((text, after)) = rest.split_once('<') {
            check_text(text)?;
            let (tag, after) = after.split_once('>').ok_or("a tag without an end")?;
            rest = after;
            if let Some(name) = tag.strip_prefix('/') {
                let opened = open.pop();
                if opened != Some(name) {
                    return Err(format!("{opened:?} ends as {name}"));
                }
                continue;
            }
            let (tag, alone) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
            let (name, mut attributes) = tag.split_once(' ').unwrap_or((tag, ""));
            while !attributes.is_empty() {
                let (key, value) = attributes.split_once("=\"").ok_or_else(|| format!("<{tag}>: bare attribute"))?;
                let (value, more) = value.split_once('"').ok_or_else(|| format!("<{tag}>: open quote"))?;
                let plain = key.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-');
                if !plain || (key == "id" && !identifiers.insert(value)) {
                    return Err(format!("<{tag}>: {key}={value}"));
                }
                check_text(value)?;
                attributes = more.trim_start();
            }
            if !alone {
                open.push(name);
            }
        }
        if open.is_empty() { check_text(rest) } else { Err(format!("left open: {open:?}")) }
    }

    fn check_text(text: &str) -> Result<(), String> {
        let known = ["amp;", "lt;", "gt;", "quot;", "#39;"];
        let good = text.split('&').skip(1).all(|after| known.iter().any(|name| after.starts_with(name)));
        let control = text.chars().any(|letter| letter.is_control() && letter != '\n');
        if good && !control { Ok(()) } else { Err(format!("{text:?} is not text")) }
    }

    #[test]
    fn the_checker_finds_what_is_ill_formed() {
        let document = |body: &str| format!("<!DOCTYPE html>\n<p>{body}</p>\n");
        assert_eq!(check(&document("a <b class=\"c\" id=\"d\">&amp;</b><br/>")), Ok(()));
        for body in [
            "<b>",
            "</b>",
            "<b></i>",
            "<b class=c></b>",
            "<b hidden></b>",
            "a & b",
            "&nbsp;",
            "<b",
            "<b id=\"c\"/><b id=\"c\"/>",
            "\u{1}",
        ] {
            assert!(check(&document(body)).is_err(), "{body}");
        }
    }

    #[test]
    fn all_text_is_escaped() {
        let facts = [(HOSTILE.to_owned(), HOSTILE.to_owned())];
        let limit = Some(Limit { name: HOSTILE.to_owned(), gb_s: 9.0 });
        let curves = [curve(HOSTILE, 0)];
        let html = Page { title: HOSTILE, facts: &facts, curves: &curves, limit }.html();
        assert_eq!(check(&html), Ok(()));
        assert!(!html.contains("<script") && !html.contains("alert('"));
        // Title twice, fact twice, limit four times, legend, table, and each point of two charts.
        assert_eq!(html.matches("&lt;script&gt;alert(&#39;a").count(), 2 + 2 + 4 + 2 + 2 * 25);
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let html = page(&[curve("ring", 0)], limit(12.0));
        for loading in ["http:", "https:", "src=", "url(", "@import", "<script", "<link", "style=\""] {
            assert!(!html.contains(loading), "{loading}");
        }
        let links: Vec<&str> = html.split("href=\"").skip(1).collect();
        assert!(!links.is_empty() && links.iter().all(|link| link.starts_with('#')));
    }

    #[test]
    fn every_entry_of_the_legend_leads_to_its_curve() {
        let curves: Vec<Curve> = (0..24).map(|index| curve("same", index)).collect();
        let html = page(&curves, None);
        for index in 0..curves.len() {
            assert_eq!(html.matches(&format!("<a href=\"#curve-{index}\">")).count(), 1);
            assert_eq!(html.matches(&format!("id=\"curve-{index}\"")).count(), 1);
            assert_eq!(html.matches(&format!("<g class=\"curve curve-{index} ")).count(), 2);
            assert_eq!(html.matches(&format!(":not(.curve-{index}) ")).count(), 1);
        }
    }

    #[test]
    fn what_cannot_be_drawn_is_in_the_table() {
        let mut odd = curve("ring", 0);
        odd.points.insert(0, point(0, 1.5, 0.0));
        odd.points.push(point(1 << 28, f64::NAN, f64::INFINITY));
        odd.points.push(point(1 << 29, -1.0, 0.25));
        let html = page(&[odd], None);
        let (charts, tables) = html.split_once("<section>").expect("there are tables");
        assert_eq!(
            charts.matches("class=\"marker\"").count(),
            1 + 25 + 26,
            "one in the legend, the rest in two charts"
        );
        assert!(
            charts.contains(">3 measurements without a place") && charts.contains(">2 measurements without a place")
        );
        assert!(!charts.contains("NaN") && !charts.contains("inf "));
        assert_eq!(tables.matches("<td>0</td><td>1.50</td><td>0</td>").count(), 1);
        assert_eq!(tables.matches("<td>268435456</td><td>NaN</td><td>inf</td>").count(), 1);
        assert_eq!(tables.matches("<tr>").count(), 1 + 28);
    }

    #[test]
    fn wrong_results_are_seen_everywhere() {
        let clean = page(&[curve("ring", 0)], None);
        assert!(
            !clean.contains("class=\"alarm\"")
                && !clean.contains("<tr class=\"wrong\"")
                && !clean.contains("class=\"ring\"")
        );
        let mut bad = curve("ring", 0);
        bad.points[3].wrong = Some(7);
        bad.points[4].wrong = None;
        let html = page(&[bad], None);
        assert!(html.contains("in 1 of 25 measurements"));
        assert_eq!(html.matches("class=\"ring\"").count(), 2);
        assert_eq!(html.matches("<tr class=\"wrong\">").count(), 1);
        assert!(html.contains("<td>✗ 7</td>") && html.contains("<td>–</td>") && html.contains("7 wrong</title>"));
    }

    #[test]
    fn nothing_measured_is_said() {
        let empty = |name: &str| Curve { name: name.to_owned(), points: Vec::new() };
        for curves in [vec![], vec![empty("a"), empty("b")]] {
            let html = page(&curves, limit(3.0));
            assert!(html.contains("Nothing was measured.") && !html.contains("<svg") && !html.contains("<table"));
        }
        let html = page(&[empty("a"), curve("b", 0)], None);
        assert!(html.contains("Nothing was measured.") && html.matches("<table").count() == 1);
    }

    /// The contrast of two colours written `#rrggbb`, as WCAG 2 defines it.
    fn contrast(one: &str, other: &str) -> f64 {
        let luminance = |colour: &str| {
            let parts = [(1, 0.2126), (3, 0.7152), (5, 0.0722)].map(|(at, weight)| {
                let part = u8::from_str_radix(&colour[at..at + 2], 16).expect("two hexadecimal digits");
                let part = f64::from(part) / 255.0;
                weight * if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
            });
            parts.iter().sum::<f64>() + 0.05
        };
        let (one, other) = (luminance(one), luminance(other));
        one.max(other) / one.min(other)
    }

    #[test]
    fn every_colour_stands_out_from_its_ground() {
        let (light, dark) = STYLE.split_once("prefers-color-scheme: dark").expect("there is a dark mode");
        for scheme in [light, dark] {
            let colour = |name: &str| {
                let (_, value) = scheme.split_once(&format!("--{name}: ")).expect(name);
                &value[..7]
            };
            let ground = colour("ground");
            for (text, behind) in [("ink", ground), ("soft", ground), ("alarm", ground), ("alarm", colour("tint"))] {
                let contrast = contrast(colour(text), behind);
                assert!(contrast >= 4.5, "{text} on {behind}: {contrast}");
            }
            for index in 0..chart::COLOURS {
                let contrast = contrast(colour(&format!("c{index}")), ground);
                assert!(contrast >= 3.0, "curve {index} on {ground}: {contrast}");
                assert!(STYLE.contains(&format!(".c{index} {{ color: var(--c{index}); }}")));
            }
        }
    }
}
