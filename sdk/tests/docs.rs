//! Checks that the Rust code shown in the documentation is code that is built and tested.

/// Sources the documentation may show, in full or in part.
const SHOWN: [&str; 2] =
    [include_str!("../../tests/guests/greeter/src/lib.rs"), include_str!("../examples/welcome.rs")];

/// The contents of all ```rust blocks.
fn blocks(document: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = document.lines();
    while lines.any(|line| line == "```rust") {
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        blocks.push(block.join("\n"));
    }
    blocks
}

fn check(name: &str, document: &str, at_least: usize) {
    let blocks = blocks(document);
    assert!(blocks.len() >= at_least, "{name} has {} blocks of Rust", blocks.len());
    for block in blocks {
        assert!(
            SHOWN.iter().any(|file| file.contains(&block)),
            "{name} shows what is in none of the files it is taken from:\n{block}"
        );
    }
}

#[test]
fn the_guide_shows_tested_code() {
    check("docs/write-a-plugin.md", include_str!("../../docs/write-a-plugin.md"), 2);
}

#[test]
fn the_readme_shows_tested_code() {
    check("README.md", include_str!("../../README.md"), 1);
}
