//! One Rust file as the rules see it: its text, its tokens with line numbers, and which of its lines are test code.
//!
//! Tokens come from `proc-macro2`, so strings, characters, lifetimes, raw strings and comments are told apart properly, and
//! code inside macros is seen like any other. This module judges nothing.

use crate::Violation;
use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use std::ops::RangeInclusive;

/// A token; a group is flattened into its opening delimiter, its content and its closing delimiter.
#[derive(Debug)]
pub(crate) struct Token {
    /// As written, but `::` is one token, and a literal or doc comment is `"…"`.
    pub(crate) text: String,
    /// The line it begins on, from 1.
    pub(crate) line: usize,
    /// A literal as written.
    pub(crate) literal: Option<String>,
}

impl Token {
    fn new(text: &str, line: usize) -> Self {
        Self { text: text.to_owned(), line, literal: None }
    }
}

/// A parsed file.
#[derive(Debug)]
pub(crate) struct Source {
    /// Relative to the repository root, with `/`.
    pub(crate) path: String,
    /// Its lines.
    pub(crate) lines: Vec<String>,
    /// Its tokens, flattened.
    pub(crate) tokens: Vec<Token>,
    tests: Vec<RangeInclusive<usize>>,
    whole_file_is_test: bool,
}

impl Source {
    /// Splits a file into tokens.
    pub(crate) fn parse(path: &str, text: &str) -> Result<Self, Violation> {
        let stream: TokenStream = text.parse().map_err(|error: proc_macro2::LexError| {
            Violation::new(path, error.span().start().line, format!("cannot be read as Rust: {error}"))
        })?;
        let mut tokens = Vec::new();
        flatten(stream, &mut tokens);
        let tests = test_ranges(&tokens);
        let whole_file_is_test = path.split('/').any(|part| part == "tests");
        Ok(Self {
            path: path.to_owned(),
            lines: text.lines().map(str::to_owned).collect(),
            tokens,
            tests,
            whole_file_is_test,
        })
    }

    /// Whether the line is compiled for tests only.
    pub(crate) fn is_test(&self, line: usize) -> bool {
        self.whole_file_is_test || self.tests.iter().any(|range| range.contains(&line))
    }

    /// The text of token `at`; the empty string past either end.
    pub(crate) fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| &token.text)
    }

    /// Whether the tokens from `at` on are these.
    pub(crate) fn matches(&self, at: usize, texts: &[&str]) -> bool {
        texts.iter().enumerate().all(|(k, text)| self.text(at + k) == *text)
    }

    /// The index of the delimiter that closes the one at `open`.
    pub(crate) fn close(&self, open: usize) -> usize {
        close(&self.tokens, open)
    }

    /// The module that the file is, below its crate's root: `src/a/b.rs` and `src/a/b/mod.rs` are `[a, b]`.
    pub(crate) fn module(&self) -> Vec<String> {
        let path = self.path.split_once("src/").map_or(self.path.as_str(), |(_, below)| below);
        let mut parts: Vec<String> = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        if parts.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main")) {
            parts.pop();
        }
        parts
    }

    /// The lines above `line` that belong to it (comments, attributes, the beginning of its statement), nearest first. A
    /// blank line or the end of another statement ends them.
    pub(crate) fn lines_above(&self, line: usize) -> impl Iterator<Item = &str> {
        let above = self.lines[..line.saturating_sub(1)].iter().rev().map(|line| line.trim());
        above.take_while(|line| is_attached(line))
    }

    /// All paths that the file imports by `use`.
    pub(crate) fn imports(&self) -> Vec<Vec<String>> {
        let mut paths = Vec::new();
        for at in (0..self.tokens.len()).filter(|&at| self.text(at) == "use") {
            self.expand(at + 1, Vec::new(), &mut paths);
        }
        paths
    }

    /// All paths of the tree that begins at token `at`, behind `path`: `a::{b, c::d}` is `a::b` and `a::c::d`. Returns the
    /// index after it.
    pub(crate) fn expand(&self, mut at: usize, mut path: Vec<String>, paths: &mut Vec<Vec<String>>) -> usize {
        loop {
            match self.text(at) {
                "{" => {
                    let end = self.close(at);
                    at += 1;
                    while at < end {
                        at = self.expand(at, path.clone(), paths);
                        while at < end && self.text(at) != "," {
                            at += 1;
                        }
                        at += 1;
                    }
                    return end + 1;
                }
                "self" | "*" => at += 1,
                part => {
                    path.push(part.to_owned());
                    at += 1;
                }
            }
            if self.text(at) != "::" {
                paths.push(path);
                return at;
            }
            at += 1;
        }
    }
}

/// Marks the files that are test code because a parent declares them so: `#[cfg(test)] mod name;`.
pub(crate) fn mark_test_files(sources: &mut [Source]) {
    let declared: Vec<Vec<String>> =
        sources.iter().filter(|s| s.path.starts_with("src/")).flat_map(test_modules).collect();
    for source in sources.iter_mut().filter(|source| source.path.starts_with("src/")) {
        let module = source.module();
        source.whole_file_is_test |= declared.iter().any(|test| module.starts_with(test));
    }
}

fn test_modules(source: &Source) -> Vec<Vec<String>> {
    (0..source.tokens.len())
        .filter(|&at| source.text(at) == "mod" && source.text(at + 2) == ";" && source.is_test(source.tokens[at].line))
        .map(|at| source.module().into_iter().chain([source.text(at + 1).to_owned()]).collect())
        .collect()
}

fn is_attached(line: &str) -> bool {
    let comment_or_attribute = line.starts_with("//") || line.starts_with('#');
    let ends_something = line.is_empty() || line.ends_with([';', '{', '}', ',']);
    comment_or_attribute || !ends_something
}

fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    for tree in stream {
        let line = tree.span().start().line;
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = delimiters(group.delimiter());
                tokens.push(Token::new(open, line));
                flatten(group.stream(), tokens);
                tokens.push(Token::new(close, group.span_close().end().line));
            }
            TokenTree::Ident(ident) => tokens.push(Token::new(&ident.to_string(), line)),
            TokenTree::Literal(literal) => {
                tokens.push(Token { literal: Some(literal.to_string()), ..Token::new("\"…\"", line) });
            }
            TokenTree::Punct(punct) => match tokens.last_mut() {
                // The first of two colons waits as `:…` for the second, to become one token.
                Some(last) if punct.as_char() == ':' && last.text == ":…" => last.text = "::".to_owned(),
                _ if punct.as_char() == ':' && punct.spacing() == Spacing::Joint => tokens.push(Token::new(":…", line)),
                _ => tokens.push(Token::new(&punct.to_string(), line)),
            },
        }
    }
}

const fn delimiters(delimiter: Delimiter) -> (&'static str, &'static str) {
    match delimiter {
        Delimiter::Parenthesis => ("(", ")"),
        Delimiter::Brace => ("{", "}"),
        Delimiter::Bracket => ("[", "]"),
        Delimiter::None => ("", ""),
    }
}

fn close(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "{" | "[" => depth += 1,
            ")" | "}" | "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len().saturating_sub(1)
}

/// The lines of every item, statement or field under `#[cfg(test)]` (or `#[test]`, or `cfg(all(test, …))`).
fn test_ranges(tokens: &[Token]) -> Vec<RangeInclusive<usize>> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut ranges = Vec::new();
    for at in 0..tokens.len() {
        if text(at) != "#" || text(at + 1) != "[" {
            continue;
        }
        let end = close(tokens, at + 1);
        let has_test = (at + 2..end).any(|k| text(k) == "test");
        let has_not = (at + 2..end).any(|k| text(k) == "not");
        if has_test && !has_not && matches!(text(at + 2), "cfg" | "test" | "tokio") {
            let last = end_of_item(tokens, end + 1);
            ranges.push(tokens[at].line..=tokens[last.min(tokens.len() - 1)].line);
        }
    }
    ranges
}

/// The index of the last token of the item that begins at `at`.
fn end_of_item(tokens: &[Token], mut at: usize) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    while text(at) == "#" && text(at + 1) == "[" {
        at = close(tokens, at + 1) + 1;
    }
    if text(at) == "pub" {
        at += if text(at + 1) == "(" { close(tokens, at + 1) - at + 1 } else { 1 };
    }
    let is_field = matches!(text(at + 1), ":" | ",");
    while at < tokens.len() {
        match text(at) {
            ";" | ")" | "}" | "]" => return at,
            "," if is_field => return at,
            "{" if !is_field => return close(tokens, at),
            "(" | "[" | "{" => at = close(tokens, at),
            _ => {}
        }
        at += 1;
    }
    tokens.len() - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Source {
        Source::parse("src/a/b.rs", text).expect("the sample is Rust")
    }

    #[test]
    fn strings_comments_and_lifetimes_are_not_code() {
        let source = parse("// todo!()\nfn f<'a>(x: &'a str) { g(\"unsafe {\", r#\"dbg!(\"#, '{'); /* unsafe */ }\n");
        let texts: Vec<_> = source.tokens.iter().map(|token| token.text.as_str()).collect();
        assert!(!texts.contains(&"unsafe") && !texts.contains(&"todo") && !texts.contains(&"dbg"), "{texts:?}");
        assert_eq!(texts.iter().filter(|text| **text == "{").count(), 1);
        assert!(source.tokens.iter().all(|token| token.line == 2));
    }

    #[test]
    fn test_code_is_told_from_the_rest() {
        let source = parse(concat!(
            "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n",
            "struct D {\n    #[cfg(test)]\n    count: u32,\n    e: u32,\n}\n#[cfg(not(test))]\nfn f() {}\n",
            "#[cfg(test)]\nuse crate::x;\nuse crate::y;\n"
        ));
        let tests: Vec<_> = (1..=16).filter(|line| source.is_test(*line)).collect();
        assert_eq!(tests, [2, 3, 4, 5, 8, 9, 14, 15]);
    }

    #[test]
    fn a_file_declared_as_a_test_module_is_test_code() {
        let sources =
            [("src/a/mod.rs", "#[cfg(test)]\nmod model;\nmod b;\n"), ("src/a/model.rs", "\n"), ("src/a/b.rs", "\n")];
        let mut sources = sources.map(|(path, text)| Source::parse(path, text).expect("Rust"));
        mark_test_files(&mut sources);
        assert_eq!(sources.map(|source| source.is_test(1)), [true, true, false]);
    }

    #[test]
    fn modules_follow_from_paths() {
        let module = |path| Source::parse(path, "").expect("Rust").module();
        assert!(module("src/lib.rs").is_empty());
        assert_eq!(module("src/a/mod.rs"), ["a"]);
        assert_eq!(module("src/a/b.rs"), ["a", "b"]);
    }

    #[test]
    fn what_is_no_rust_is_reported_with_its_line() {
        assert_eq!(Source::parse("src/x.rs", "fn f() {}\n)").expect_err("unbalanced").line, 2);
    }
}
