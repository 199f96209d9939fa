//! Where a plot is drawn: plotters' bitmap, with letters of 8 by 8 dots.
//!
//! Letters from a font file would need the system's, or one to carry along. These are part of a
//! crate, a handful of bytes each, and look the same everywhere.

use font8x8::{BASIC_FONTS, UnicodeFonts};
use plotters::backend::{BitMapBackend, DrawingBackend};
use plotters::style::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingErrorKind,
};

/// Dots of a letter, in either direction.
const LETTER: i32 = 8;

/// A bitmap that can write without a font.
pub(super) struct Canvas<'a>(pub(super) BitMapBackend<'a>);

type Drawn<E> = Result<(), DrawingErrorKind<E>>;

impl<'a> DrawingBackend for Canvas<'a> {
    type ErrorType = <BitMapBackend<'a> as DrawingBackend>::ErrorType;

    fn get_size(&self) -> (u32, u32) {
        self.0.get_size()
    }

    fn ensure_prepared(&mut self) -> Drawn<Self::ErrorType> {
        self.0.ensure_prepared()
    }

    fn present(&mut self) -> Drawn<Self::ErrorType> {
        self.0.present()
    }

    fn draw_pixel(&mut self, at: BackendCoord, color: BackendColor) -> Drawn<Self::ErrorType> {
        self.0.draw_pixel(at, color)
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
        fill: bool,
    ) -> Drawn<Self::ErrorType> {
        self.0.draw_rect(from, to, style, fill)
    }

    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        at: BackendCoord,
    ) -> Drawn<Self::ErrorType> {
        let scale = scale(style.size());
        let (width, height) = extent(text, scale);
        let left = match style.anchor().h_pos {
            HPos::Left => 0,
            HPos::Center => -width / 2,
            HPos::Right => -width,
        };
        let top = match style.anchor().v_pos {
            VPos::Top => 0,
            VPos::Center => -height / 2,
            VPos::Bottom => -height,
        };
        let (turn, color) = (style.transform(), style.color());
        let size = self.get_size();
        let inside = |(x, y): BackendCoord| {
            (0..size.0 as i32).contains(&x) && (0..size.1 as i32).contains(&y)
        };
        for (index, letter) in (0..).zip(text.chars()) {
            let rows = BASIC_FONTS.get(letter).unwrap_or([0xff; LETTER as usize]);
            for (row, dots) in (0..).zip(rows) {
                for column in (0..LETTER).filter(|column| dots & (1 << column) != 0) {
                    for (dx, dy) in (0..scale * scale).map(|dot| (dot % scale, dot / scale)) {
                        let x = left + (index * LETTER + column) * scale + dx;
                        let (x, y) = turn.transform(x, top + row * scale + dy);
                        let dot = (at.0 + x, at.1 + y);
                        if inside(dot) {
                            self.draw_pixel(dot, color)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn estimate_text_size<S: BackendTextStyle>(
        &self,
        text: &str,
        style: &S,
    ) -> Result<(u32, u32), DrawingErrorKind<Self::ErrorType>> {
        let (width, height) = extent(text, scale(style.size()));
        Ok((width as u32, height as u32))
    }
}

/// How many pixels a dot has in either direction, for letters of about this height.
fn scale(height: f64) -> i32 {
    ((height / f64::from(LETTER)).floor() as i32).clamp(1, 8)
}

fn extent(text: &str, scale: i32) -> (i32, i32) {
    // No plot has a text that long; the bound keeps sums small.
    (text.chars().take(1000).count() as i32 * LETTER * scale, LETTER * scale)
}
