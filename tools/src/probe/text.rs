//! How the probe's findings read: aligned columns for a terminal. Only words; nothing is looked at here.

use super::host::{Host, Locked};
use super::ways::Way;
use serried::topology::interface::rails;
use serried::topology::node_of;
use serried::transport::verbs::sys::{GidEntry, LinkLayer, PortAttributes};
use serried::transport::verbs::{Device, LINK_BYTES, Port};

/// Rows of cells, each column as wide as its widest cell; the last is not padded. Each row begins with `indent` blanks.
pub(crate) fn columns(indent: usize, rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let chars = |cell: &String| cell.chars().count();
    let widths: Vec<usize> =
        (0..count).map(|column| rows.iter().filter_map(|row| row.get(column)).map(chars).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = " ".repeat(indent);
        for (column, cell) in row.iter().enumerate() {
            let last = column + 1 == row.len();
            let width = if last { 0 } else { widths[column] + 2 };
            line += &format!("{cell:<width$}");
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// Everything about a host.
pub(super) fn host(host: &Host) -> String {
    let rows: Vec<Vec<String>> = [
        ["host", &format!("{}, id {}, {}", host.name, host.id, host.kernel)],
        ["shared memory", &memory(host)],
        ["locked memory", &locked(host.locked)],
    ]
    .map(|row| row.map(str::to_owned).into())
    .into();
    columns(0, &rows) + "\nTCP\n" + &tcp(host) + "\nRDMA\n" + &rdma(host)
}

/// What kinds of pair would use.
pub(super) fn ways(ways: &[Way]) -> String {
    let mut rows = Vec::new();
    for way in ways {
        let transport = way.transport.unwrap_or("nothing");
        let over = if way.over.is_empty() { String::new() } else { format!(" over {}", way.over) };
        rows.push(vec![way.pairs.to_owned(), format!("{transport}{over}")]);
        let refused = way.refused.iter();
        rows.extend(refused.map(|(transport, why)| vec![String::new(), format!("not {transport}: {why}")]));
    }
    columns(0, &rows)
}

fn memory(host: &Host) -> String {
    match &host.memory {
        Ok(bytes) => format!("can be shared; room for {}", size(*bytes)),
        Err(why) => format!("cannot be shared: {why}"),
    }
}

fn locked(locked: Locked) -> String {
    let links = |bytes: u64| bytes / LINK_BYTES as u64;
    let each = size(LINK_BYTES as u64);
    match locked {
        Locked::Unlimited => "no limit".to_owned(),
        Locked::Privileged(bytes) => {
            format!("the limit of {} does not count for this process, which has CAP_IPC_LOCK", size(bytes))
        }
        Locked::Limited(bytes) => {
            format!("at most {} a process: {} RDMA links of {each} each", size(bytes), links(bytes))
        }
    }
}

fn tcp(host: &Host) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |name: &str, address: String, fate: String| rows.push(vec![name.to_owned(), address, fate]);
    if let Err(why) = &host.interfaces {
        row("none", String::new(), format!("cannot be used: {why}"));
    }
    let used = host.interfaces.as_deref().unwrap_or_default();
    let rails = rails(used);
    for one in used {
        let turns = if rails.len() > 1 && rails.contains(&one) { ", one of the rails of every pair" } else { "" };
        row(&one.name, one.address.to_string(), format!("used{turns}: {}", place(one.megabits, one.numa_node)));
    }
    host.loopback
        .iter()
        .for_each(|one| row(&one.name, one.address.to_string(), "used among ranks of this host".into()));
    for one in &host.idle {
        let address = one.address.map_or_else(|| "-".to_owned(), |address| address.to_string());
        row(&one.name, address, format!("not used: {}", one.why));
    }
    columns(2, &rows)
}

fn rdma(host: &Host) -> String {
    let found = match &host.rdma {
        Ok(found) => found,
        Err(why) => return format!("  not used: {why}\n"),
    };
    let mut text: String = found.devices.iter().map(|one| device(host, one)).collect();
    let rest: Vec<Vec<String>> =
        host.unanswered().into_iter().map(|(what, why)| vec![what, format!("not used: {why}")]).collect();
    text += &columns(2, &rest);
    if let (Some(why), false) = (host.against_verbs(), found.choice.usable.is_empty()) {
        text += &format!("  not used: {why}\n");
    }
    if text.is_empty() { "  not used: there is no RDMA device\n".to_owned() } else { text }
}

fn device(host: &Host, device: &Device) -> String {
    let firmware = match device.attributes.firmware.as_str() {
        "" => "no firmware".to_owned(),
        version => format!("firmware {version}"),
    };
    let ports = device.ports.iter().map(|port| {
        let fate = host.fate(port).unwrap_or_else(|why| format!("not used: {why}"));
        let heading = format!(
            "  {port}: {}, {firmware}\n    {fate}\n",
            attributes(&port.attributes, node_of("infiniband", &device.name))
        );
        let rows: Vec<_> = port.gids.iter().map(|entry| address(host, port, entry)).collect();
        heading + &columns(4, &rows)
    });
    ports.collect()
}

/// How fast something is, and where it hangs.
fn place(megabits: Option<u32>, numa_node: Option<u32>) -> String {
    let speed = megabits.map_or_else(|| "speed unknown".to_owned(), |mb| format!("{} Gb/s", f64::from(mb) / 1e3));
    numa_node.map_or(speed.clone(), |node| format!("{speed}, NUMA node {node}"))
}

fn attributes(attributes: &PortAttributes, numa_node: Option<u32>) -> String {
    let PortAttributes { state, link_layer, active_mtu, max_mtu, .. } = attributes;
    let speed = place(attributes.megabits, numa_node);
    let lid = if *link_layer == LinkLayer::InfiniBand { format!(", LID {}", attributes.lid) } else { String::new() };
    format!("{link_layer}{lid}, {state}, {speed}, MTU {active_mtu} of {max_mtu}")
}

fn address(host: &Host, port: &Port, entry: &GidEntry) -> Vec<String> {
    let fate = match host.address_fate(port, entry) {
        Ok(()) => "used".to_owned(),
        Err(why) if why.is_empty() => "not used".to_owned(),
        Err(why) => format!("not used: {why}"),
    };
    vec![format!("GID {}", entry.index), entry.gid.address().to_string(), entry.kind.to_string(), fate]
}

/// Bytes in the largest unit that leaves something before the point.
fn size(bytes: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let unit = (1..units.len()).rev().find(|unit| bytes >> (10 * unit) > 0).unwrap_or(0);
    let amount = bytes as f64 / (1u64 << (10 * unit)) as f64;
    let digits = usize::from(amount.fract() > 0.05 && unit > 0);
    format!("{amount:.digits$} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let rows = [vec!["a", "bcd", "e"], vec!["fgh", "", ""], vec!["i", "j", "long end"]];
        let rows: Vec<Vec<String>> = rows.map(|row| row.into_iter().map(str::to_owned).collect()).into();
        assert_eq!(columns(2, &rows), "  a    bcd  e\n  fgh\n  i    j    long end\n");
    }

    #[test]
    fn sizes_read_well() {
        let sizes = [0, 1000, 65536, LINK_BYTES as u64, 3 << 30, (3 << 30) + (1 << 29)].map(size);
        assert_eq!(sizes, ["0 bytes", "1000 bytes", "64 KiB", "2 MiB", "3 GiB", "3.5 GiB"]);
    }
}
