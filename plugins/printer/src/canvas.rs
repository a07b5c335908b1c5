//! Drawing primitives: shapes and texts, in points from the upper left corner.

use krilla::color::rgb;
use krilla::geom::{Path, PathBuilder, Point};
use krilla::num::NormalizedF32;
use krilla::paint::{Fill, FillRule, LineCap, Paint, Stroke, StrokeDash};
use krilla::surface::Surface;

use crate::face::{Face, NoGlyph};

/// A colour: red, green and blue.
#[derive(Clone, Copy)]
pub(crate) struct Color(pub(crate) u8, pub(crate) u8, pub(crate) u8);

impl From<Color> for rgb::Color {
    fn from(Color(red, green, blue): Color) -> Self {
        Self::new(red, green, blue)
    }
}

impl From<Color> for Paint {
    fn from(color: Color) -> Self {
        rgb::Color::from(color).into()
    }
}

/// Which point of a text its x coordinate refers to.
#[derive(Clone, Copy)]
pub(crate) enum Anchor {
    Start,
    Middle,
}

/// Text style.
#[derive(Clone, Copy)]
pub(crate) struct Style {
    pub(crate) face: &'static Face,
    pub(crate) size: f32,
    /// Space between characters, relative to the size.
    pub(crate) tracking: f32,
    pub(crate) color: Color,
    pub(crate) anchor: Anchor,
}

/// Line style; ends are round.
#[derive(Clone, Default)]
pub(crate) struct Pen {
    pub(crate) width: f32,
    /// Transparency from 0 (opaque) to 1.
    pub(crate) transparency: f32,
    /// Lengths of dashes and gaps; empty for a solid line.
    pub(crate) dashes: Vec<f32>,
}

/// A page's surface.
pub(crate) struct Canvas<'a>(pub(crate) Surface<'a>);

impl Canvas<'_> {
    /// Draws a text whose baseline is at y.
    pub(crate) fn text(&mut self, text: &str, x: f32, y: f32, style: Style) -> Result<(), NoGlyph> {
        let run = style.face.set(text, style.tracking)?;
        let x = match style.anchor {
            Anchor::Start => x,
            Anchor::Middle => x - run.width * style.size / 2.0,
        };
        self.0.set_stroke(None);
        self.0.set_fill(Some(Fill { paint: style.color.into(), ..Fill::default() }));
        let font = style.face.font.clone();
        self.0.draw_glyphs(Point::from_xy(x, y), &run.glyphs, font, text, style.size, false);
        Ok(())
    }

    /// Fills a shape; no-op if its dimensions make none.
    pub(crate) fn fill(&mut self, shape: Option<Path>, paint: impl Into<Paint>) {
        let Some(shape) = shape else { return };
        self.0.set_stroke(None);
        self.0.set_fill(Some(Fill { paint: paint.into(), ..Fill::default() }));
        self.0.draw_path(&shape);
    }

    /// Strokes a shape; no-op if its dimensions make none.
    pub(crate) fn stroke(&mut self, shape: Option<Path>, color: Color, pen: &Pen) {
        let Some(shape) = shape else { return };
        let dashes = pen.dashes.clone();
        self.0.set_fill(None);
        self.0.set_stroke(Some(Stroke {
            paint: color.into(),
            width: pen.width,
            opacity: NormalizedF32::new(1.0 - pen.transparency).unwrap_or(NormalizedF32::ONE),
            line_cap: LineCap::Round,
            dash: (!dashes.is_empty()).then_some(StrokeDash { array: dashes, offset: 0.0 }),
            ..Stroke::default()
        }));
        self.0.draw_path(&shape);
    }

    /// Clips drawing to a shape.
    pub(crate) fn within(&mut self, shape: Option<Path>, draw: impl FnOnce(&mut Self)) {
        let Some(shape) = shape else { return };
        self.0.push_clip_path(&shape, &FillRule::NonZero);
        draw(self);
        self.0.pop();
    }
}

pub(crate) fn line(x1: f32, y1: f32, x2: f32, y2: f32) -> Option<Path> {
    let mut path = PathBuilder::new();
    path.move_to(x1, y1);
    path.line_to(x2, y2);
    path.finish()
}

pub(crate) fn rectangle(left: f32, top: f32, right: f32, bottom: f32) -> Option<Path> {
    rounded(left, top, right, bottom, [0.0; 4])
}

pub(crate) fn circle(x: f32, y: f32, radius: f32) -> Option<Path> {
    rounded(x - radius, y - radius, x + radius, y + radius, [radius; 4])
}

/// A rectangle with the radius of each corner, clockwise from the upper left one.
pub(crate) fn rounded(
    left: f32,
    top: f32,
    right: f32,
    bottom: f32,
    radii: [f32; 4],
) -> Option<Path> {
    /// Distance of a Bézier curve's handles from the ends of a quarter circle, relative to its
    /// radius.
    const HANDLE: f32 = 0.552_284_8;
    let [a, b, c, d] = radii;
    let h = 1.0 - HANDLE;
    let mut path = PathBuilder::new();
    path.move_to(left + a, top);
    path.line_to(right - b, top);
    path.cubic_to(right - b * h, top, right, top + b * h, right, top + b);
    path.line_to(right, bottom - c);
    path.cubic_to(right, bottom - c * h, right - c * h, bottom, right - c, bottom);
    path.line_to(left + d, bottom);
    path.cubic_to(left + d * h, bottom, left, bottom - d * h, left, bottom - d);
    path.line_to(left, top + a);
    path.cubic_to(left, top + a * h, left + a * h, top, left + a, top);
    path.close();
    path.finish()
}
