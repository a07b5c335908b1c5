//! QR codes as one path of squares.

use krilla::geom::{Path, PathBuilder, Rect};
use qrcode::{Color, EcLevel, QrCode};

/// The QR code of a text, as a square of this width with its upper left corner at (x, y). `None` if
/// the text is too long.
pub(crate) fn path(text: &str, x: f32, y: f32, width: f32) -> Option<Path> {
    let code = QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
    let modules = code.width();
    let module = width / modules as f32;
    let mut path = PathBuilder::new();
    for (row, colors) in code.to_colors().chunks(modules).enumerate() {
        // One rectangle per run of dark modules avoids seams and makes the file smaller.
        let mut column = 0;
        for run in colors.chunk_by(|one, other| one == other) {
            if run.first() == Some(&Color::Dark) {
                let (left, top) = (x + column as f32 * module, y + row as f32 * module);
                path.push_rect(Rect::from_xywh(left, top, run.len() as f32 * module, module)?);
            }
            column += run.len();
        }
    }
    path.finish()
}
