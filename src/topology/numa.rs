//! Processors and NUMA nodes: which of them this process may run on, and which node a device hangs on. On machines with one, nodes do not matter.

use rustix::thread::{CpuSet, sched_getaffinity};
use std::fs;
use std::path::Path;

/// The first processor that this thread may run on, and how many there are.
pub(crate) fn processors() -> [u32; 2] {
    let allowed = sched_getaffinity(None).ok();
    let first = allowed.and_then(|set| (0..CpuSet::MAX_CPU).find(|processor| set.is_set(*processor)));
    // A quota of time counts as well.
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    [first.unwrap_or(0) as u32, count as u32]
}

/// The first processor on the same core; `processor` itself if the system does not tell.
pub(crate) fn core_of(processor: u32) -> u32 {
    let file = format!("/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list");
    fs::read_to_string(file).ok().and_then(|list| first(&list)).unwrap_or(processor)
}

/// The first of a list of numbers and ranges, as the system writes it: `0-3,8`.
fn first(list: &str) -> Option<u32> {
    list.trim().split([',', '-']).next()?.parse().ok()
}

/// The node that has all processors that this thread may run on. `None` if they are on several, or the system does not tell.
pub fn own_node() -> Option<u32> {
    let allowed = sched_getaffinity(None).ok()?;
    let allowed = (0..CpuSet::MAX_CPU).filter(|processor| allowed.is_set(*processor));
    node_with(&nodes(Path::new("/sys/devices/system/node")), allowed)
}

/// The node that a device is attached to; `class` is the kind of device in the system's words: `net` or `infiniband`. `None` if it is no device
/// of a bus, or there is one node.
pub fn node_of(class: &str, name: &str) -> Option<u32> {
    let file = Path::new("/sys/class").join(class).join(name).join("device/numa_node");
    // Below zero where there is no choice.
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// Every node with its processors, as the system lists them: `0-3,8`.
fn nodes(directory: &Path) -> Vec<(u32, String)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let node = |entry: fs::DirEntry| {
        let number = entry.file_name().to_str()?.strip_prefix("node")?.parse().ok()?;
        Some((number, fs::read_to_string(entry.path().join("cpulist")).ok()?))
    };
    entries.filter_map(node).collect()
}

fn node_with(nodes: &[(u32, String)], mut processors: impl Iterator<Item = usize>) -> Option<u32> {
    let home = |processor: usize| nodes.iter().find(|(_, list)| lists(list, processor)).map(|(node, _)| *node);
    let first = home(processors.next()?)?;
    processors.all(|processor| home(processor) == Some(first)).then_some(first)
}

/// Whether a list of numbers and ranges has the number.
fn lists(list: &str, number: usize) -> bool {
    list.trim().split(',').any(|range| {
        let (low, high) = range.split_once('-').unwrap_or((range, range));
        low.parse().is_ok_and(|low: usize| low <= number) && high.parse().is_ok_and(|high: usize| number <= high)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_is_known_by_its_first_processor() {
        for (list, expected) in [("0,64\n", Some(0)), ("2-3\n", Some(2)), ("7\n", Some(7)), ("", None), ("all", None)] {
            assert_eq!(first(list), expected, "{list:?}");
        }
    }

    #[test]
    fn a_process_is_on_the_node_that_has_all_its_processors() {
        let nodes = [(0, "0-3,8\n".to_owned()), (1, "4-7\n".to_owned()), (2, "\n".to_owned())];
        let on = |processors: &[usize]| node_with(&nodes, processors.iter().copied());
        assert_eq!((on(&[0, 3, 8]), on(&[4]), on(&[7, 5])), (Some(0), Some(1), Some(1)));
        assert_eq!((on(&[3, 4]), on(&[9]), on(&[0, 9]), on(&[])), (None, None, None, None));
    }

    #[test]
    fn what_is_no_device_hangs_on_no_node() {
        assert_eq!(node_of("net", "lo"), None);
        assert_eq!(node_of("infiniband", "../../etc"), None);
        // Wherever this runs, it is answered.
        let _ = own_node();
    }
}
