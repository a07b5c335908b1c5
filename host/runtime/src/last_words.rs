//! What a guest wrote to stderr before it trapped, in the words of its language: the message first,
//! with the author's file and line, then the author's frames. Languages that are compiled to a
//! component together with an interpreter surround them with frames of their own.
//!
//! Formats as of `CPython` 3.14 (componentize-py 0.25), `QuickJS` (jco 1.35), `StarlingMonkey`
//! (componentize-js 0.23) and Rust 1.95. What isn't recognised is shown as it is.

/// Files of the interpreters' glue and of Usher's SDKs: no author's.
const NOT_THE_AUTHORS: [&str; 3] = ["initializer.js", "usher/", "usher."];
/// Frames that are kept.
const FRAMES_MAX: usize = 16;

/// A message and the author's frames, innermost first.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LastWords {
    /// One line.
    pub(crate) headline: String,
    /// Each `FUNCTION (FILE:LINE)`.
    pub(crate) frames: Vec<String>,
}

/// Finds them in the end of stderr; `None` if it is of no known language.
pub(crate) fn last_words(stderr: &str) -> Option<LastWords> {
    python(stderr).or_else(|| javascript(stderr)).or_else(|| rust(stderr))
}

fn words(message: &str, frames: Vec<String>) -> LastWords {
    let message = message.trim();
    let headline = match frames.first() {
        Some(frame) => format!("{message}, in {frame}"),
        None => message.to_owned(),
    };
    LastWords { headline, frames }
}

fn is_authors(file: &str) -> bool {
    // Of a path, as the glue's are in folders of their own; of a name, as a bundle has it.
    let name = file.rsplit('/').next().unwrap_or(file);
    !NOT_THE_AUTHORS.iter().any(|not| match not.strip_suffix('/') {
        Some(folder) => file.split('/').any(|part| part == folder),
        None => name.starts_with(not),
    }) && !name.starts_with("usher_")
        && !name.starts_with("usher-")
}

/// `Traceback (most recent call last):`, indented frames, and the exception, which may have more
/// lines. Written by `CPython`; the panic that follows is componentize-py's.
fn python(stderr: &str) -> Option<LastWords> {
    let (trace, _) = stderr.split_once("\nthread '")?;
    if !stderr.contains("Python function threw an unexpected exception")
        && !trace.contains("  File \"")
    {
        return None;
    }
    // An exception that was raised while another was handled comes last.
    let trace = trace.rsplit("Traceback (most recent call last):").next().unwrap_or(trace);
    let mut frames = Vec::new();
    let mut message = None;
    for line in trace.lines() {
        if let Some(frame) = line.trim_start().strip_prefix("File \"") {
            frames.extend(python_frame(frame));
        } else if !line.starts_with(' ') && !line.trim().is_empty() {
            message = message.or(Some(line));
        }
    }
    frames.reverse();
    frames.truncate(FRAMES_MAX);
    Some(words(message?, frames))
}

/// `/0/app.py", line 17, in helper`; the folder is the component's.
fn python_frame(frame: &str) -> Option<String> {
    let (file, rest) = frame.split_once("\", line ")?;
    let (line, function) = rest.split_once(", in ").unwrap_or((rest, "<module>"));
    let name = file.rsplit('/').next()?;
    is_authors(file).then(|| format!("{function} ({name}:{line})"))
}

/// The message stands in the words of the engine's glue, the stack after it.
fn javascript(stderr: &str) -> Option<LastWords> {
    if let Some((_, thrown)) = stderr.split_once("Exception { message: Some(\"") {
        // Debug output of Rust: escaped.
        let thrown = thrown.replace("\\n", "\n").replace("\\\"", "\"").replace("\\'", "'");
        let (message, _) = thrown.split_once('\n').unwrap_or((thrown.as_str(), ""));
        let (message, _) = message.split_once("\"), stack:").unwrap_or((message, ""));
        return Some(words(message, script_frames(&thrown)));
    }
    let (_, thrown) = stderr.split_once("(received `")?;
    let (message, _) = thrown.split_once('\n').unwrap_or((thrown, ""));
    let (message, _) = message.split_once("`) specified for").unwrap_or((message, ""));
    // The SDK hands on the author's error with its stack in an error of its own.
    let message = message.strip_prefix("Error: ").filter(|rest| rest.contains("Error: "));
    let message = message.unwrap_or_else(|| {
        let (first, _) = thrown.split_once("`) specified for").unwrap_or((thrown, ""));
        first.lines().next().unwrap_or_default()
    });
    Some(words(message, script_frames(thrown)))
}

/// `at helper (/app.js:12:13)` of `QuickJS`, `helper@app.js:12:9` of `StarlingMonkey`.
fn script_frames(stack: &str) -> Vec<String> {
    let mut frames = Vec::new();
    for line in stack.lines() {
        let line = line.trim().trim_end_matches(['"', ')', ' ', '}', '`']);
        // The first frame may stand behind the message.
        let at = line.strip_prefix("at ").or_else(|| Some(line.rsplit_once("    at ")?.1));
        let found = match at {
            Some(frame) => frame.split_once(" (").or(Some(("<anonymous>", frame))),
            None => line.rsplit_once('@'),
        };
        let Some((function, place)) = found else { continue };
        let function = function.rsplit([' ', '|']).next().unwrap_or(function);
        let mut parts = place.rsplitn(3, ':');
        let (Some(_column), Some(line), Some(file)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let frame = format!("{function} ({}:{line})", file.rsplit('/').next().unwrap_or(file));
        if line.parse::<u32>().is_ok() && is_authors(file) && !frames.contains(&frame) {
            frames.push(frame);
        }
    }
    frames.truncate(FRAMES_MAX);
    frames
}

/// `thread 'NAME' panicked at FILE:LINE:COLUMN:` and the message below it.
fn rust(stderr: &str) -> Option<LastWords> {
    let (_, panic) = stderr.rsplit_once(" panicked at ")?;
    let (place, message) = panic.split_once(":\n")?;
    let (message, _) =
        message.split_once("\nnote: run with `RUST_BACKTRACE").unwrap_or((message, ""));
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    Some(LastWords { headline: format!("panicked at {place}: {message}"), frames: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(stderr: &str, headline: &str, frames: &[&str]) {
        let found = last_words(stderr).unwrap();
        assert_eq!(found.headline, headline);
        assert_eq!(found.frames, frames);
    }

    #[test]
    fn a_python_exception() {
        let panic = "\nthread '<unnamed>' (1) panicked at runtime/src/lib.rs:1293:29:\nPython function \
                     threw an unexpected exception\nnote: run with `RUST_BACKTRACE=1` environment \
                     variable to display a backtrace\n";
        check(
            &format!(
                "Traceback (most recent call last):\n  File \"/1/usher_component.py\", line 9, in \
                 handle\n  File \"/0/app.py\", line 12, in handle\n  File \"/0/app.py\", line 17, in \
                 helper\nValueError: plain\nsecond line\n{panic}"
            ),
            "ValueError: plain, in helper (app.py:17)",
            &["helper (app.py:17)", "handle (app.py:12)"],
        );
        // The beginning is cut off.
        check(
            &format!("line 9, in x\n  File \"/0/app.py\", line 17, in f\nKeyError: 'a'\n{panic}"),
            "line 9, in x, in f (app.py:17)",
            &["f (app.py:17)"],
        );
    }

    #[test]
    fn a_javascript_error_on_quickjs() {
        let stderr = |exception: &str| {
            format!(
                "\nthread '<unnamed>' (1) panicked at crates/runtime/src/interpreter.rs:51:31:\nFailed to \
                 call 'handle': Value(Exception(\n{exception}\n)\nnote: run with `RUST_BACKTRACE=1` …"
            )
        };
        check(
            &stderr(
                r#"Exception { message: Some("boom here"), stack: Some("    at helper (/app.js:12:13)\n    at handle (/app.js:4:36)\n") })"#,
            ),
            "boom here, in helper (app.js:12)",
            &["helper (app.js:12)", "handle (app.js:4)"],
        );
        check(
            &stderr(
                r#"Exception { message: Some("TypeError: it's \"x\"\n    at f (/plugin.js:2:1)\n    at handle (/usher.js:9:9)\n"), stack: Some("    at failed (/usher.js:5:94)\n") })"#,
            ),
            "TypeError: it's \"x\", in f (plugin.js:2)",
            &["f (plugin.js:2)"],
        );
    }

    #[test]
    fn a_javascript_error_on_starlingmonkey() {
        let glue = "Stack:\n  export_listener_0_1_0$handle@/tmp/5/sources/initializer.js:5753:15\n";
        check(
            &format!(
                "invalid variant tag value `undefined` (received `TypeError: boom here`) specified for \
                 `Failure`\n{glue}"
            ),
            "TypeError: boom here",
            &[],
        );
        check(
            &format!(
                "invalid variant tag value `undefined` (received `Error: TypeError: boom\nhelper@app.js:12:9\n\
                 fn@/tmp/5/sources/initializer.js:5474:34\n`) specified for `Failure`\n{glue}"
            ),
            "TypeError: boom, in helper (app.js:12)",
            &["helper (app.js:12)"],
        );
    }

    #[test]
    fn a_rust_panic() {
        check(
            "\nthread 'main' (1) panicked at src/lib.rs:3:5:\nboom\ntwice\nnote: run with \
             `RUST_BACKTRACE=1` environment variable to display a backtrace\n",
            "panicked at src/lib.rs:3:5: boom twice",
            &[],
        );
    }

    #[test]
    fn anything_else_is_left_alone() {
        for text in ["", "out of paper", "Traceback", "thread 'x' panicked at", "(received `"] {
            let found = last_words(text);
            assert!(found.is_none() || text == "(received `", "{text}: {found:?}");
        }
    }
}
