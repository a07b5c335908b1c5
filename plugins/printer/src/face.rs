//! Typefaces: embedding, text widths and glyph lookup.

use std::sync::LazyLock;

use krilla::text::{Font, GlyphId, KrillaGlyph};
use skrifa::instance::{LocationRef, Size};
use skrifa::{FontRef, MetadataProvider};

/// Subsets with Latin scripts and common punctuation; see fonts/README.md.
static BOLD: LazyLock<Option<Face>> =
    LazyLock::new(|| Face::new(include_bytes!("../fonts/InterDisplay-Bold.otf")));
static MEDIUM: LazyLock<Option<Face>> =
    LazyLock::new(|| Face::new(include_bytes!("../fonts/Inter-Medium.otf")));

/// A typeface for measuring and embedding.
pub(crate) struct Face {
    pub(crate) font: Font,
    outlines: FontRef<'static>,
}

/// Text shaped into glyphs.
pub(crate) struct Run {
    pub(crate) glyphs: Vec<KrillaGlyph>,
    /// At size 1.
    pub(crate) width: f32,
}

/// The typeface lacks this character.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoGlyph(pub(crate) char);

/// The typefaces; parsed once per instance.
pub(crate) struct Faces {
    /// For titles and values.
    pub(crate) bold: &'static Face,
    /// For everything else.
    pub(crate) medium: &'static Face,
}

impl Faces {
    /// `None` if a font file is corrupt; a test ensures it isn't.
    pub(crate) fn get() -> Option<Self> {
        Some(Self { bold: BOLD.as_ref()?, medium: MEDIUM.as_ref()? })
    }
}

impl Face {
    fn new(data: &'static [u8]) -> Option<Self> {
        Some(Self { font: Font::new(data.into(), 0)?, outlines: FontRef::new(data).ok()? })
    }

    /// Shapes a text; adds `tracking` between characters, relative to the size.
    pub(crate) fn set(&self, text: &str, tracking: f32) -> Result<Run, NoGlyph> {
        let characters = self.outlines.charmap();
        let metrics = self.outlines.glyph_metrics(Size::unscaled(), LocationRef::default());
        let units_per_em = self.font.units_per_em();
        let mut run = Run { glyphs: Vec::with_capacity(text.len()), width: 0.0 };
        for (start, character) in text.char_indices() {
            let glyph = characters.map(character).ok_or(NoGlyph(character))?;
            let advance =
                metrics.advance_width(glyph).unwrap_or_default() / units_per_em + tracking;
            let id = GlyphId::new(glyph.to_u32());
            let range = start..start + character.len_utf8();
            run.glyphs.push(KrillaGlyph::new(id, advance, 0.0, 0.0, 0.0, range, None));
            run.width += advance;
        }
        run.width -= if run.glyphs.is_empty() { 0.0 } else { tracking };
        Ok(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_faces_have_the_letters_of_europe() {
        let faces = Faces::get().unwrap();
        for face in [faces.bold, faces.medium] {
            let run = face.set("AÄßÉőŁčŞş – „“”’ € №", 0.0).unwrap();
            assert_eq!(run.glyphs.len(), 20);
            assert!(run.width > 8.0 && run.width < 16.0, "{}", run.width);
            assert_eq!(face.set("a\u{1d11e}", 0.0).err(), Some(NoGlyph('\u{1d11e}')));
        }
    }

    #[test]
    fn tracking_lies_between_characters() {
        let face = Faces::get().unwrap().medium;
        let (plain, tracked) = (face.set("abc", 0.0).unwrap(), face.set("abc", 0.5).unwrap());
        assert!((tracked.width - plain.width - 1.0).abs() < 1e-5);
    }
}
