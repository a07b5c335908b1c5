//! Guests written as core WebAssembly text, which no compiler would produce.

use bytes::Bytes;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{PackageId, Resolve};

/// Packages of WIT whose interfaces hand out pollables, and wait for them.
pub(crate) const POLLABLES: [&str; 2] = [
    "package wasi:io@0.2.6; interface poll { resource pollable { block: func(); } }",
    "package wasi:clocks@0.2.6; interface monotonic-clock {
        use wasi:io/poll@0.2.6.{pollable};
        type duration = u64;
        subscribe-duration: func(when: duration) -> pollable;
     }",
];

/// The parts of a hostile guest. Each is the text of an instruction sequence or of module fields.
pub(crate) struct Parts<'a> {
    /// Module fields that come before the memory: imports.
    pub(crate) imports: &'a str,
    /// Further module fields.
    pub(crate) fields: &'a str,
    /// Size of the memory, in pages.
    pub(crate) pages: u64,
    /// Body of `describe`; leaves the address of a description.
    pub(crate) describe: &'a str,
    /// Body of `handle`; leaves the address of a result.
    pub(crate) handle: &'a str,
    /// Body of `cabi_realloc`; leaves an address.
    pub(crate) realloc: &'a str,
    /// Further WIT: imports of the world.
    pub(crate) world_imports: &'a str,
    /// Further WIT: packages the imports refer to.
    pub(crate) packages: &'a [&'a str],
}

impl Default for Parts<'_> {
    /// A guest that calls itself `tested` and acknowledges everything.
    fn default() -> Self {
        Self {
            imports: "",
            fields: "",
            pages: 16,
            describe: "i32.const 64",
            handle: "i32.const 128",
            realloc: "call $bump",
            world_imports: "",
            packages: &[],
        }
    }
}

impl Parts<'_> {
    /// The component.
    pub(crate) fn build(&self) -> Bytes {
        let Self { imports, fields, pages, describe, handle, realloc, .. } = self;
        // At 64 is a description (name, version, summary, no subscriptions, no capabilities), at
        // 128 an ok without emissions. Values from the host are allocated from 4096 on.
        let text = format!(
            r#"(module
                {imports}
                (memory (export "memory") {pages})
                (data (i32.const 64) "\00\02\00\00\06\00\00\00\10\02\00\00\05\00\00\00")
                (data (i32.const 512) "tested")
                (data (i32.const 528) "1.0.0")
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
                    {handle}))"#
        );
        let mut module = wat::parse_str(&text).unwrap();
        let mut resolve = Resolve::default();
        let contract = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit");
        resolve.push_path(contract).unwrap();
        for package in self.packages {
            push(&mut resolve, package);
        }
        let world = format!(
            "package tests:guest; world guest {{ {} export usher:plugin/listener@0.1.0; }}",
            self.world_imports
        );
        let package = push(&mut resolve, &world);
        let world = resolve.select_world(&[package], Some("guest")).unwrap();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        ComponentEncoder::default().module(&module).unwrap().encode().unwrap().into()
    }
}

fn push(resolve: &mut Resolve, text: &str) -> PackageId {
    resolve.push_str("guest.wit", text).unwrap()
}

/// A section without effect on what a component does.
pub(crate) const CUSTOM_SECTION: u8 = 0;
const COMPONENT_SECTION: u8 = 4;
const INSTANCE_SECTION: u8 = 5;

/// Adds a nested component, written as text, and an instance of it.
pub(crate) fn with_component(component: &[u8], inner: &str) -> Bytes {
    let mut bytes = component.to_vec();
    let before = sections(component).filter(|(_, id)| *id == COMPONENT_SECTION).count();
    section(&mut bytes, COMPONENT_SECTION, &wat::parse_str(inner).unwrap());
    // One instance, of the last component, without arguments.
    section(&mut bytes, INSTANCE_SECTION, &[1, 0, u8::try_from(before).unwrap(), 0]);
    bytes.into()
}

fn section(component: &mut Vec<u8>, id: u8, content: &[u8]) {
    component.push(id);
    let mut length = content.len();
    while length > 0x7f {
        component.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    component.push(length as u8);
    component.extend_from_slice(content);
}

/// Offset and id of each of a component's sections.
pub(crate) fn sections(component: &[u8]) -> impl Iterator<Item = (usize, u8)> {
    let mut rest = &component[8..];
    std::iter::from_fn(move || {
        let place = component.len() - rest.len();
        let (id, after) = rest.split_first()?;
        let bytes = after.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
        let (number, content) = after.split_at(bytes);
        let length = number.iter().rev().fold(0, |sum, byte| sum << 7 | usize::from(byte & 0x7f));
        rest = &content[length..];
        Some((place, *id))
    })
}
