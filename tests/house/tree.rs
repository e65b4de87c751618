//! The work tree: which files and names there are. The only part of these tests that reads the disk.

use std::path::Path;

/// Top-level entries whose files the rules look into, besides the plain files of the top level.
const DIRECTORIES: [&str; 7] = ["src", "ffi", "tools", "benches", "tests", ".ci", ".github"];

/// The names of everything at the top level.
pub(crate) fn top_level(root: &Path) -> Vec<String> {
    names(root)
}

/// Path (relative, with `/`) and text of every file of the tree; files that are not text are left out.
pub(crate) fn text_files(root: &Path) -> Vec<(String, String)> {
    let mut files = Vec::new();
    // In a linked work tree `.git` is a file, and names the place of the repository.
    for name in names(root).into_iter().filter(|name| name != ".git") {
        if DIRECTORIES.contains(&name.as_str()) || root.join(&name).is_file() {
            collect(root, &name, &mut files);
        }
    }
    files
}

fn collect(root: &Path, path: &str, files: &mut Vec<(String, String)>) {
    let full = root.join(path);
    if full.is_dir() {
        for name in names(&full).iter().filter(|name| name.as_str() != "target") {
            collect(root, &format!("{path}/{name}"), files);
        }
    } else if let Ok(text) = std::fs::read_to_string(&full) {
        files.push((path.to_owned(), text));
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("a readable directory lists its entries").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
