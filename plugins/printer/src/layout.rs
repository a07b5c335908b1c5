//! Layouts: title size and line breaking.

use crate::face::{Face, NoGlyph};

/// Title settings of a layout.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) name: &'static str,
    /// In points, like all lengths.
    pub(crate) title_size: f32,
    pub(crate) title_leading: f32,
    pub(crate) title_lines_max: usize,
}

/// Largest first; each attempt uses the next one.
pub(crate) const LAYOUTS: [Layout; 3] = [
    Layout { name: "large", title_size: 36.0, title_leading: 41.0, title_lines_max: 2 },
    Layout { name: "medium", title_size: 19.0, title_leading: 22.5, title_lines_max: 4 },
    Layout { name: "compact", title_size: 13.5, title_leading: 16.0, title_lines_max: 6 },
];

/// Breaks a text between words into as few lines as fit. `None` if a single word is too wide.
pub(crate) fn lines(
    text: &str,
    face: &Face,
    size: f32,
    width: f32,
) -> Result<Option<Vec<String>>, NoGlyph> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        if face.set(word, 0.0)?.width * size > width {
            return Ok(None);
        }
        if let Some(line) = lines.last_mut() {
            let longer = format!("{line} {word}");
            if face.set(&longer, 0.0)?.width * size <= width {
                *line = longer;
                continue;
            }
        }
        lines.push(word.to_owned());
    }
    Ok(Some(lines))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::face::Faces;

    #[test]
    fn breaks_between_words_only() {
        let face = Faces::get().unwrap().medium;
        let width = face.set("one two", 0.0).unwrap().width + 0.01;
        let broken = lines(" one  two three\nfour ", face, 1.0, width).unwrap().unwrap();
        assert_eq!(broken, ["one two", "three", "four"]);
        assert_eq!(lines("uncopyrightable", face, 1.0, width), Ok(None));
        assert_eq!(lines("", face, 1.0, width), Ok(Some(vec![])));
        assert_eq!(lines("one \u{1}", face, 1.0, width), Err(NoGlyph('\u{1}')));
    }
}
