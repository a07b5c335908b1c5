//! The page: a ticket with a dark panel for the event and a white stub for admission.

use std::fmt;

use krilla::Document;
use krilla::color::rgb;
use krilla::metadata::Metadata;
use krilla::num::NormalizedF32;
use krilla::page::PageSettings;
use krilla::paint::{LinearGradient, Paint, SpreadMethod, Stop};
use tickets::Ticket;

use crate::canvas::{Anchor, Canvas, Color, Pen, Style, circle, line, rectangle, rounded};
use crate::face::{Faces, NoGlyph};
use crate::layout::{Layout, lines};
use crate::{qr, when};

// All lengths are in points from the upper left corner.
const PAGE: (f32, f32) = (660.0, 300.0);
const LEFT: f32 = 24.0;
const TOP: f32 = 24.0;
const RIGHT: f32 = 636.0;
const BOTTOM: f32 = 276.0;
/// The x at which the panel ends and the stub begins.
const TEAR: f32 = 466.0;
const CORNER: f32 = 14.0;
const NOTCH: f32 = 9.0;
/// Horizontal bounds of the panel's text.
const MARGIN: f32 = 54.0;
const PANEL_END: f32 = 440.0;
const STUB_MIDDLE: f32 = (TEAR + RIGHT) / 2.0;
const STUB_WIDTH: f32 = 138.0;
const QR_WIDTH: f32 = 112.0;
/// Minimum scale of a text; below it, the text counts as too long.
const SHRINK_MAX: f32 = 0.55;

const PAPER: Color = Color(240, 238, 245);
const WHITE: Color = Color(255, 255, 255);
const INK: Color = Color(24, 18, 56);
const GREY: Color = Color(122, 116, 146);
const HAIRLINE: Color = Color(223, 219, 234);
const AMBER: Color = Color(255, 196, 84);
const LILAC: Color = Color(190, 178, 228);
const NIGHT: Color = Color(20, 16, 52);
const DUSK: Color = Color(86, 32, 112);
const GLOW: Color = Color(164, 48, 110);

/// Why a ticket can't be printed.
#[derive(Debug, PartialEq)]
pub(crate) enum Unprintable {
    /// The typeface lacks a character; other layouts won't help.
    NoGlyph(char),
    /// A text doesn't fit its box in this layout.
    TooLong { what: &'static str, layout: &'static str },
    /// The start of the concert isn't RFC 3339.
    NoDate(String),
    /// The PDF library failed, with its message.
    Library(String),
}

impl fmt::Display for Unprintable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoGlyph(c) => write!(f, "the typeface has no glyph for U+{:04X}", u32::from(*c)),
            Self::TooLong { what, layout } => {
                write!(f, "the {what} doesn't fit its box in the {layout} layout")
            }
            Self::NoDate(text) => write!(f, "the concert starts at `{text}`, which is no RFC 3339"),
            Self::Library(words) => write!(f, "the PDF can't be written: {words}"),
        }
    }
}

impl From<NoGlyph> for Unprintable {
    fn from(NoGlyph(character): NoGlyph) -> Self {
        Self::NoGlyph(character)
    }
}

/// Renders the ticket as a PDF. Deterministic.
pub(crate) fn draw(ticket: &Ticket, number: &str, layout: &Layout) -> Result<Vec<u8>, Unprintable> {
    let library = |words: &str| Unprintable::Library(words.to_owned());
    let faces = Faces::get().ok_or_else(|| library("a typeface is damaged"))?;
    let mut document = Document::new();
    document.set_metadata(
        Metadata::new()
            .title(format!("Ticket {number}"))
            .description(ticket.concert.title.clone())
            .creator("Usher".to_owned()),
    );
    let settings =
        PageSettings::from_wh(PAGE.0, PAGE.1).ok_or_else(|| library("the page has no size"))?;
    let mut page = document.start_page_with(settings);
    {
        let mut sheet = Sheet { canvas: Canvas(page.surface()), faces, layout };
        sheet.background();
        sheet.panel(ticket)?;
        sheet.stub(ticket, number)?;
    }
    page.finish();
    document.finish().map_err(|error| library(&format!("{error:?}")))
}

struct Sheet<'a> {
    canvas: Canvas<'a>,
    faces: Faces,
    layout: &'a Layout,
}

impl Sheet<'_> {
    fn background(&mut self) {
        let Self { canvas, .. } = self;
        canvas.fill(rectangle(0.0, 0.0, PAGE.0, PAGE.1), PAPER);
        canvas.fill(rounded(LEFT, TOP, RIGHT, BOTTOM, [CORNER; 4]), WHITE);
        let panel = || rounded(LEFT, TOP, TEAR, BOTTOM, [CORNER, 0.0, 0.0, CORNER]);
        canvas.fill(panel(), evening());
        canvas.within(panel(), |canvas| {
            let pen = Pen { width: 1.1, transparency: 0.915, ..Pen::default() };
            for ring in 0_u8..9 {
                let radius = 46.0 + 34.0 * f32::from(ring);
                canvas.stroke(circle(TEAR - 26.0, BOTTOM + 6.0, radius), WHITE, &pen);
            }
        });
        for y in [TOP, BOTTOM] {
            canvas.fill(circle(TEAR, y, NOTCH), PAPER);
        }
        let dots = Pen { width: 2.4, dashes: vec![0.01, 6.5], ..Pen::default() };
        canvas.stroke(line(TEAR, TOP + 17.0, TEAR, BOTTOM - 15.0), PAPER, &dots);
    }

    fn panel(&mut self, ticket: &Ticket) -> Result<(), Unprintable> {
        let label = self.label(AMBER, Anchor::Start);
        self.canvas.text("CONCERT TICKET", MARGIN, 60.0, label)?;

        let y = self.title(&ticket.concert.title)?;
        let (day, time) = when::day_and_time(&ticket.concert.starts)
            .ok_or_else(|| Unprintable::NoDate(ticket.concert.starts.clone()))?;
        let width = PANEL_END - MARGIN;
        let venue = self.plain(13.0, WHITE);
        self.fitted("venue", &ticket.concert.venue, MARGIN, y + 24.0, width, venue)?;
        let date = self.plain(13.0, LILAC);
        self.fitted("date", &format!("{day}  ·  {time}"), MARGIN, y + 42.0, width, date)?;

        let seat = &ticket.seat;
        let (row, number, price) = (&seat.row, seat.number.to_string(), ticket.price.to_string());
        let fields = [
            ("SECTION", "section", seat.section.as_str(), 54.0, 128.0),
            ("ROW", "row", row.as_str(), 194.0, 52.0),
            ("SEAT", "seat number", number.as_str(), 258.0, 60.0),
            ("PRICE", "price", price.as_str(), 330.0, 110.0),
        ];
        for (label, what, value, x, width) in fields {
            let style = self.label(LILAC, Anchor::Start);
            self.canvas.text(label, x, 236.0, style)?;
            let style = Style { face: self.faces.bold, ..self.plain(18.0, WHITE) };
            self.fitted(what, value, x, 256.0, width, style)?;
        }
        Ok(())
    }

    /// Draws the title; returns the baseline of its last line.
    fn title(&mut self, title: &str) -> Result<f32, Unprintable> {
        let Layout { name, title_size, title_leading, title_lines_max } = *self.layout;
        let face = self.faces.bold;
        let broken = lines(title, face, title_size, PANEL_END - MARGIN)?
            .filter(|broken| broken.len() <= title_lines_max)
            .ok_or(Unprintable::TooLong { what: "title", layout: name })?;
        let style = Style { face, ..self.plain(title_size, WHITE) };
        let mut y = 74.0 + title_size * 0.8;
        for (position, text) in broken.iter().enumerate() {
            y += if position == 0 { 0.0 } else { title_leading };
            self.canvas.text(text, MARGIN, y, style)?;
        }
        Ok(y)
    }

    fn stub(&mut self, ticket: &Ticket, number: &str) -> Result<(), Unprintable> {
        let code = qr::path(number, STUB_MIDDLE - QR_WIDTH / 2.0, 44.0, QR_WIDTH);
        self.canvas.fill(code, INK);
        let centred = |style: Style| Style { anchor: Anchor::Middle, ..style };
        let style =
            centred(Style { face: self.faces.bold, tracking: 0.04, ..self.plain(11.0, INK) });
        self.fitted("ticket number", number, STUB_MIDDLE, 181.0, STUB_WIDTH, style)?;
        let (from, to) = (STUB_MIDDLE - STUB_WIDTH / 2.0, STUB_MIDDLE + STUB_WIDTH / 2.0);
        let pen = Pen { width: 1.0, ..Pen::default() };
        self.canvas.stroke(line(from, 194.0, to, 194.0), HAIRLINE, &pen);
        let style = self.label(GREY, Anchor::Middle);
        self.canvas.text("ADMIT ONE", STUB_MIDDLE, 212.0, style)?;
        let style = centred(Style { face: self.faces.bold, ..self.plain(14.0, INK) });
        self.fitted("buyer's name", &ticket.buyer.name, STUB_MIDDLE, 230.0, STUB_WIDTH, style)?;
        let style = centred(self.plain(9.0, GREY));
        let order = format!("Order {}", ticket.order);
        self.fitted("order", &order, STUB_MIDDLE, 249.0, STUB_WIDTH, style)
    }

    fn plain(&self, size: f32, color: Color) -> Style {
        Style { face: self.faces.medium, size, tracking: 0.0, color, anchor: Anchor::Start }
    }

    fn label(&self, color: Color, anchor: Anchor) -> Style {
        Style { tracking: 0.16, anchor, ..self.plain(7.5, color) }
    }

    /// Draws a text, scaled down if necessary.
    fn fitted(
        &mut self,
        what: &'static str,
        text: &str,
        x: f32,
        y: f32,
        width: f32,
        style: Style,
    ) -> Result<(), Unprintable> {
        let natural = style.face.set(text, style.tracking)?.width * style.size;
        let scale = (width / natural).min(1.0);
        if scale < SHRINK_MAX {
            return Err(Unprintable::TooLong { what, layout: self.layout.name });
        }
        Ok(self.canvas.text(text, x, y, Style { size: style.size * scale, ..style })?)
    }
}

/// The panel's gradient, from night sky to stage light.
fn evening() -> Paint {
    let stop = |offset, color: Color| Stop {
        offset: NormalizedF32::new(offset).unwrap_or(NormalizedF32::ZERO),
        color: rgb::Color::from(color).into(),
        opacity: NormalizedF32::ONE,
    };
    LinearGradient {
        x1: LEFT,
        y1: TOP,
        x2: TEAR + 10.0,
        y2: BOTTOM + 70.0,
        transform: Default::default(),
        spread_method: SpreadMethod::Pad,
        stops: vec![stop(0.0, NIGHT), stop(0.58, DUSK), stop(1.0, GLOW)],
        anti_alias: false,
    }
    .into()
}
