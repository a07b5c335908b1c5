//! The languages that there are templates for, and the tools that each needs.

/// A language with a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Rust, with usher-sdk.
    Rust,
    /// Python, by componentize-py.
    Python,
    /// JavaScript on QuickJS, by jco.
    Js,
    /// TypeScript, the same way.
    Ts,
    /// C, by clang or zig.
    C,
}

/// A tool, and how to get it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tool {
    /// What it is.
    pub name: &'static str,
    /// Succeeds if it is there.
    pub check: &'static [&'static str],
    /// What to do if it isn't.
    pub get: &'static str,
}

const RUST: &[Tool] = &[
    Tool {
        name: "cargo",
        check: &["cargo", "--version"],
        get: "install Rust from https://rustup.rs",
    },
    Tool {
        name: "the target wasm32-wasip2",
        check: &["sh", "-c", "test -d \"$(rustc --print target-libdir --target wasm32-wasip2)\""],
        get: "rustup target add wasm32-wasip2",
    },
];

const PYTHON: &[Tool] = &[Tool {
    name: "Python 3.10 or newer with venv",
    check: &["python3", "-c", "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))"],
    get: "install it from your system (Debian: apt-get install python3-venv) or https://python.org",
}];

const NODE: &[Tool] = &[Tool {
    name: "Node.js 20 or newer with npm",
    check: &[
        "sh",
        "-c",
        "npm --version && node -e 'process.exit(Number(parseInt(process.versions.node) < 20))'",
    ],
    get: "install it from your system or https://nodejs.org",
}];

impl Language {
    /// All of them, with the names that the command line has for them.
    pub const ALL: [(&'static str, Self); 5] = [
        ("rust", Self::Rust),
        ("python", Self::Python),
        ("js", Self::Js),
        ("ts", Self::Ts),
        ("c", Self::C),
    ];

    /// Tools that have to be there before the project's own set-up.
    pub fn tools(self) -> &'static [Tool] {
        match self {
            Self::Rust => RUST,
            // zig and wasm-tools come from PyPI, too.
            Self::Python | Self::C => PYTHON,
            Self::Js | Self::Ts => NODE,
        }
    }

    /// Commands that set up a new project, once.
    pub fn set_up(self) -> &'static [&'static str] {
        match self {
            Self::Rust => &[],
            Self::Python | Self::C => {
                &["python3 -m venv .venv", ".venv/bin/pip install -r requirements.txt"]
            }
            Self::Js | Self::Ts => &["npm install"],
        }
    }
}

/// What to do about a program of a build step that can't be run.
pub(crate) fn hint(program: &str) -> Option<&'static str> {
    match program {
        "cargo" => Some("install Rust from https://rustup.rs"),
        "make" => Some("install make from your system (Debian: apt-get install make)"),
        _ if program.starts_with(".venv/") => Some(
            "set up the project: python3 -m venv .venv && .venv/bin/pip install -r requirements.txt",
        ),
        _ if program.starts_with("node_modules/") => Some("set up the project: npm install"),
        _ => None,
    }
}
