//! Plugins written in WebAssembly text, for code that no compiler would generate.

use anyhow::{Context as _, Result};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{PackageId, Resolve};

use crate::artefacts::repository;

/// The parts of a plugin. Each is the text of an instruction sequence or of module fields.
#[derive(Clone, Debug)]
pub struct Text {
    /// Module fields placed before the memory, such as imports.
    pub imports: String,
    /// Further module fields.
    pub fields: String,
    /// Memory size in pages.
    pub pages: u64,
    /// Body of `describe`; returns the address of a description.
    pub describe: String,
    /// Body of `handle` with the parameter `$delivery`; returns the address of a result.
    pub handle: String,
    /// Body of the post-return function of `handle`; optional.
    pub post_return: Option<String>,
    /// Body of `cabi_realloc`; pops a size and returns an address.
    pub realloc: String,
    /// Whether its strings are UTF-16.
    pub utf16: bool,
    /// Additional WIT: imports of the world.
    pub world_imports: String,
    /// Additional WIT: packages the imports refer to.
    pub packages: Vec<&'static str>,
}

/// Address of the result: an ok without emissions, unless overwritten.
pub(crate) const ANSWER: u32 = 128;

impl Default for Text {
    /// A plugin that acknowledges everything.
    fn default() -> Self {
        Self {
            imports: String::new(),
            fields: String::new(),
            pages: 16,
            describe: "i32.const 64".to_owned(),
            handle: format!("i32.const {ANSWER}"),
            post_return: None,
            realloc: "call $bump".to_owned(),
            utf16: false,
            world_imports: String::new(),
            packages: Vec::new(),
        }
    }
}

impl Text {
    /// The component of a plugin with this name.
    ///
    /// # Errors
    /// The text is invalid.
    pub fn build(&self, name: &str) -> Result<Vec<u8>> {
        self.encode(self.core(name)?)
    }

    /// The core module of a plugin with this name.
    ///
    /// # Errors
    /// The text is invalid.
    pub fn core(&self, name: &str) -> Result<Vec<u8>> {
        Ok(wat::parse_str(self.module(name))?)
    }

    /// Wraps a module with matching imports and exports into a component.
    ///
    /// # Errors
    /// The module doesn't match.
    pub fn encode(&self, mut module: Vec<u8>) -> Result<Vec<u8>> {
        let mut resolve = Resolve::default();
        resolve.push_path(repository().join("wit"))?;
        for package in &self.packages {
            push(&mut resolve, package)?;
        }
        let world = format!(
            "package tests:guest; world guest {{ {} export usher:plugin/listener@0.1.0; }}",
            self.world_imports
        );
        let package = push(&mut resolve, &world)?;
        let world = resolve.select_world(&[package], Some("guest"))?;
        let encoding = if self.utf16 { StringEncoding::UTF16 } else { StringEncoding::UTF8 };
        embed_component_metadata(&mut module, &resolve, world, encoding)?;
        ComponentEncoder::default().module(&module)?.encode().context("making a component of it")
    }

    /// Memory layout: a description at 64 (name, version, no summary, no subscriptions, no
    /// capabilities), a result at 128; arguments from the host are allocated from 4096.
    fn module(&self, name: &str) -> String {
        let Self { imports, fields, pages, describe, handle, realloc, .. } = self;
        let (name, version) = (self.string(name), self.string("1.0.0"));
        let post_return = self.post_return.as_ref().map_or_else(String::new, |body| {
            format!(
                r#"(func (export "cabi_post_usher:plugin/listener@0.1.0#handle") (param i32)
                    {body})"#
            )
        });
        format!(
            r#"(module
                {imports}
                (memory (export "memory") {pages})
                (data (i32.const 64) "\00\02\00\00{}\40\03\00\00{}")
                (data (i32.const 512) "{}")
                (data (i32.const 832) "{}")
                (global $next (mut i32) (i32.const 4096))
                (func $bump (param $size i32) (result i32)
                    global.get $next
                    global.get $next
                    local.get $size
                    i32.add
                    i32.const 7
                    i32.add
                    i32.const -8
                    i32.and
                    global.set $next)
                {fields}
                (func $realloc (export "cabi_realloc")
                    (param $old i32) (param $old_size i32) (param $align i32) (param $size i32)
                    (result i32)
                    local.get $size
                    {realloc})
                (func $describe (export "usher:plugin/listener@0.1.0#describe") (result i32)
                    {describe})
                (func $handle (export "usher:plugin/listener@0.1.0#handle")
                    (param $delivery i32) (result i32)
                    {handle})
                {post_return})"#,
            name.length, version.length, name.bytes, version.bytes
        )
    }

    fn string(&self, text: &str) -> Laid {
        let escaped = |bytes: &mut dyn Iterator<Item = u8>| {
            bytes.map(|byte| format!("\\{byte:02x}")).collect::<String>()
        };
        let (units, bytes) = if self.utf16 {
            let units: Vec<u16> = text.encode_utf16().collect();
            (units.len(), escaped(&mut units.into_iter().flat_map(u16::to_le_bytes)))
        } else {
            (text.len(), escaped(&mut text.bytes()))
        };
        let length = u32::try_from(units).unwrap_or(u32::MAX).to_le_bytes();
        Laid { bytes, length: escaped(&mut length.into_iter()) }
    }
}

/// A string in the text of a data segment.
struct Laid {
    bytes: String,
    /// Length in code units.
    length: String,
}

fn push(resolve: &mut Resolve, text: &str) -> Result<PackageId> {
    resolve.push_str("guest.wit", text)
}
