//! stub
pub(crate) struct Page<'a> {
    pub(crate) title: &'a str,
    pub(crate) facts: &'a [(String, String)],
    pub(crate) curves: &'a [Curve],
    pub(crate) limit: Option<Limit>,
}
pub(crate) struct Curve {
    pub(crate) name: String,
    pub(crate) points: Vec<Point>,
}
pub(crate) struct Point {
    pub(crate) bytes: u64,
    pub(crate) time_us: f64,
    pub(crate) bus_bw: f64,
    pub(crate) wrong: Option<u64>,
}
pub(crate) struct Limit {
    pub(crate) name: String,
    pub(crate) gb_s: f64,
}
impl Page<'_> {
    pub(crate) fn html(&self) -> String {
        let _ = (
            self.title,
            self.facts.len(),
            self.limit.as_ref().map(|l| (l.name.len(), l.gb_s)),
            self.curves
                .iter()
                .map(|c| c.points.iter().map(|p| (p.bytes, p.time_us, p.bus_bw, p.wrong)).count())
                .sum::<usize>(),
        );
        String::new()
    }
}
