//! How large the caches are that cores share.

use std::fs;
use std::path::Path;

/// Bytes of the last caches before memory, all of this host together. `None` where the system does not tell.
pub fn last_caches() -> Option<usize> {
    let processors = Path::new("/sys/devices/system/cpu");
    let caches = fs::read_dir(processors.join("cpu0/cache")).ok()?.flatten().map(|entry| {
        let text = |file: &str| fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        ["level", "size", "shared_cpu_list"].map(text)
    });
    total(caches, &fs::read_to_string(processors.join("online")).ok()?)
}

/// The last of one processor's `caches` (level, size and which processors share it, as the system has them), as often as all processors that run have it.
fn total(caches: impl Iterator<Item = [String; 3]>, online: &str) -> Option<usize> {
    let [_, bytes, sharers] = caches.max_by_key(|[level, ..]| level.trim().parse::<u32>().ok())?;
    size(&bytes)?.checked_mul(count(online)?.div_ceil(count(&sharers)?))
}

/// A size as the system writes it: `32768K`.
fn size(text: &str) -> Option<usize> {
    let text = text.trim();
    let (number, unit) = match (text.strip_suffix('K'), text.strip_suffix('M')) {
        (Some(number), _) => (number, 1 << 10),
        (_, Some(number)) => (number, 1 << 20),
        _ => (text, 1),
    };
    number.parse::<usize>().ok()?.checked_mul(unit)
}

/// How many processors a list has: `0-3,8`.
fn count(list: &str) -> Option<usize> {
    let range = |range: &str| {
        let (low, high) = range.split_once('-').unwrap_or((range, range));
        let (low, high): (usize, usize) = (low.parse().ok()?, high.parse().ok()?);
        Some(high.checked_sub(low)? + 1)
    };
    list.trim().split(',').map(range).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_caches_of_the_last_level_count() {
        let of = |caches: &[[&str; 3]], online: &str| {
            total(caches.iter().map(|cache| cache.map(|text| format!("{text}\n"))), &format!("{online}\n"))
        };
        let (first, second) = (["1", "32K", "0,64"], ["2", "512K", "0,64"]);
        assert_eq!(of(&[first, ["3", "32768K", "0-1"], second], "0-1"), Some(32 << 20));
        assert_eq!(of(&[first, second, ["3", "32768K", "0-7,64-71"]], "0-127"), Some(8 * (32 << 20)));
        assert_eq!(
            of(&[first, second, ["3", "36M", "0-1"]], "0-2"),
            Some(2 * (36 << 20)),
            "the last one's sharers are not all there"
        );
        assert_eq!(of(&[first, second], "0-127"), Some(64 * (512 << 10)), "no core shares more");
        assert_eq!(of(&[], "0-1"), None);
        for size in ["much", ""] {
            assert_eq!(of(&[first, second, ["3", size, "0-1"]], "0-1"), None, "the last one is not told");
        }
        assert_eq!(of(&[["3", "32768K", "1-0"]], "0-1"), None);
        assert_eq!(of(&[["3", "32768K", "0-1"]], ""), None);
    }
}
