//! docs/promises.md names only what exists.

use std::fs;
use std::path::Path;

use anyhow::Result;
use usher_tests::repository;

/// Folders that contain tests.
const FOLDERS: [&str; 5] =
    ["host", "tests/conformance", "tests/simulator", "tests/src", "tests/system"];

/// The invariants of ARCHITECTURE.md.
const INVARIANTS: usize = 13;

/// Each invariant is promised, and at least one test states that it checks it.
#[test]
fn each_invariant_is_promised_and_tested() -> Result<()> {
    let page = fs::read_to_string(repository().join("docs/promises.md"))?;
    let mut sources = String::new();
    for folder in FOLDERS {
        read_sources(&repository().join(folder), &mut sources)?;
    }
    let cited: Vec<&str> = sources
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("//"))
        .filter(|comment| comment.contains("nvariant"))
        .collect();
    for number in 1..=INVARIANTS {
        assert!(page.contains(&format!("\n## {number}. ")), "{number} is not promised");
        let is_cited = |comment: &&str| {
            comment.split(|c: char| !c.is_ascii_digit()).any(|word| word == number.to_string())
        };
        assert!(cited.iter().any(is_cited), "no test cites invariant {number}");
    }
    Ok(())
}

/// Each test that the page names exists.
#[test]
fn the_tests_that_are_named_exist() -> Result<()> {
    let page = fs::read_to_string(repository().join("docs/promises.md"))?;
    let mut sources = String::new();
    for folder in FOLDERS {
        read_sources(&repository().join(folder), &mut sources)?;
    }
    let named = page.split("cargo xtask test ").skip(1).filter_map(|rest| {
        rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .next()
            .filter(|n| !n.is_empty())
    });
    let missing: Vec<&str> =
        named.filter(|name| !sources.contains(&format!("fn {name}"))).collect();
    assert!(missing.is_empty(), "there are no tests {missing:?}");
    Ok(())
}

fn read_sources(folder: &Path, into: &mut String) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read_sources(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&fs::read_to_string(&path)?);
        }
    }
    Ok(())
}
