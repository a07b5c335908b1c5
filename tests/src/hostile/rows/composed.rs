//! Nested components.

use anyhow::{Context as _, Result};

use super::super::text::Text;

const COMPONENT_SECTION: u8 = 4;
const INSTANCE_SECTION: u8 = 5;

/// A plugin whose inner components pass 100,000 borrowed handles of one resource at instantiation:
/// A defines the resource, B owns and lends it, C takes the list.
pub(super) fn lending(name: &str) -> Result<Vec<u8>> {
    let mut plugin = Text::default().build(name)?;
    let before = components(&plugin)?;
    section(&mut plugin, COMPONENT_SECTION, &wat::parse_str(LENDING)?);
    // One instance, of that component, without arguments.
    section(&mut plugin, INSTANCE_SECTION, &[1, 0, before, 0]);
    Ok(plugin)
}

const LENDING: &str = r#"(component
    (component $A
        (type $made (resource (rep i32)))
        (core func $new (canon resource.new $made))
        (core module $m
            (import "" "new" (func $new (param i32) (result i32)))
            (func (export "make") (result i32) i32.const 7 call $new))
        (core instance $i (instantiate $m (with "" (instance (export "new" (func $new))))))
        (export $r "r" (type $made))
        (func (export "make") (result (own $r)) (canon lift (core func $i "make"))))
    (instance $a (instantiate $A))
    (component $C
        (import "a" (instance $a (export "r" (type (sub resource)))))
        (alias export $a "r" (type $r))
        (core module $m
            (memory (export "memory") 32)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
            (func (export "take") (param i32 i32)))
        (core instance $i (instantiate $m))
        (func (export "take") (param "rs" (list (borrow $r)))
            (canon lift (core func $i "take")
                (memory (core memory $i "memory")) (realloc (core func $i "realloc")))))
    (instance $c (instantiate $C (with "a" (instance $a))))
    (component $B
        (import "a" (instance $a
            (export "r" (type $r (sub resource)))
            (export "make" (func (result (own $r))))))
        (alias export $a "r" (type $r))
        (import "c" (instance $c
            (export "take" (func (param "rs" (list (borrow $r)))))))
        (core module $memory (memory (export "memory") 32))
        (core instance $memory (instantiate $memory))
        (core func $make (canon lower (func $a "make")))
        (core func $take (canon lower (func $c "take")
            (memory (core memory $memory "memory"))))
        (core module $m
            (import "" "memory" (memory 1))
            (import "" "make" (func $make (result i32)))
            (import "" "take" (func $take (param i32 i32)))
            (func $start (local $handle i32) (local $i i32)
                call $make local.set $handle
                loop
                    (i32.store offset=1024
                        (i32.mul (local.get $i) (i32.const 4)) (local.get $handle))
                    (local.tee $i (i32.add (local.get $i) (i32.const 1)))
                    i32.const 100000 i32.lt_u br_if 0
                end
                i32.const 1024 i32.const 100000 call $take)
            (start $start))
        (core instance (instantiate $m (with "" (instance
            (export "memory" (memory $memory "memory"))
            (export "make" (func $make))
            (export "take" (func $take)))))))
    (instance (instantiate $B (with "a" (instance $a)) (with "c" (instance $c)))))"#;

/// Number of inner components, each in its own section.
fn components(component: &[u8]) -> Result<u8> {
    let mut rest = component.get(8..).context("no component")?;
    let mut count = 0;
    while let Some((id, after)) = rest.split_first() {
        count += u8::from(*id == COMPONENT_SECTION);
        rest = after;
        let mut length = 0;
        for shift in (0..).step_by(7) {
            let (byte, after) = rest.split_first().context("a section without an end")?;
            rest = after;
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        rest = rest.get(length..).context("a section that is cut")?;
    }
    Ok(count)
}

const LISTENER: &str = "usher:plugin/listener@0.1.0";

fn section(component: &mut Vec<u8>, id: u8, content: &[u8]) {
    component.push(id);
    leb128(component, content.len());
    component.extend_from_slice(content);
}

/// Wraps a core module into a component that exports an empty instance as its listener: without
/// that export it wouldn't be compiled at all.
pub(super) fn wrapped(module: &[u8]) -> Vec<u8> {
    let mut component = b"\0asm\x0d\0\x01\0".to_vec();
    section(&mut component, 1, module);
    section(&mut component, 5, &[1, 1, 0]);
    let mut export = vec![1, 0];
    leb128(&mut export, LISTENER.len());
    export.extend_from_slice(LISTENER.as_bytes());
    // Instance 0, without an explicit type.
    export.extend_from_slice(&[5, 0, 0]);
    section(&mut component, 11, &export);
    component
}

/// A core module with functions of type `[] -> []` that have these bodies.
pub(super) fn module(bodies: &[Vec<u8>]) -> Vec<u8> {
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    section(&mut module, 1, &[1, 0x60, 0, 0]);
    let mut types = Vec::new();
    leb128(&mut types, bodies.len());
    types.resize(types.len() + bodies.len(), 0);
    section(&mut module, 3, &types);
    let mut code = Vec::new();
    leb128(&mut code, bodies.len());
    for body in bodies {
        leb128(&mut code, body.len());
        code.extend_from_slice(body);
    }
    section(&mut module, 10, &code);
    module
}

/// A core module with a memory and `count` empty data segments.
pub(super) fn data_segments(count: usize) -> Vec<u8> {
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    section(&mut module, 5, &[1, 0, 1]);
    let mut segments = Vec::new();
    leb128(&mut segments, count);
    for _ in 0..count {
        // At i32.const 0, no bytes.
        segments.extend_from_slice(&[0, 0x41, 0, 0x0b, 0]);
    }
    section(&mut module, 11, &segments);
    module
}

pub(super) fn leb128(bytes: &mut Vec<u8>, mut number: usize) {
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}
