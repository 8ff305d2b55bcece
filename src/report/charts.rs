//! Charts of a report as SVG: bars with whiskers for each precision, and a deployment's runs over time.
//!
//! Text and lines are drawn in one ink, so that the same chart suits a light and a dark page. No colour says anything
//! that words or shapes do not say too.

mod bars;
mod time;

use plotters::drawing::DrawingAreaErrorKind;
use plotters::prelude::{DrawingBackend, SVGBackend};
use plotters::style::{IntoFont, RGBColor, TextStyle};

pub use self::bars::{Bar, BarChart, bars};
pub use self::time::{Mark, Plot, Segment, TimeChart, WIDE, over_time};

/// Stands for the colour of text until it is known where the chart goes. No other colour is this.
const INK: RGBColor = RGBColor(1, 2, 3);

/// The same as it is written.
const INK_WRITTEN: &str = "#010203";

const BLUE: RGBColor = RGBColor(0x3b, 0x7d, 0xd8);
const ORANGE: RGBColor = RGBColor(0xd9, 0x82, 0x1f);
const RED: RGBColor = RGBColor(0xd6, 0x45, 0x45);

/// The size of most text, in pixels of a chart at its own width.
const TEXT: i32 = 16;

/// About how wide a character of that size is.
const CHARACTER: f64 = 7.3;

/// The name space of SVG, which a chart within an HTML page does without.
const NAME_SPACE: &str = " xmlns=\"http://www.w3.org/2000/svg\"";

/// Why a chart could not be drawn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a chart could not be drawn: {0}")]
pub struct Undrawn(String);

impl Undrawn {
    fn new(error: &dyn std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// What drawing into a text comes to.
type Drawn = Result<(), DrawingAreaErrorKind<<SVGBackend<'static> as DrawingBackend>::ErrorType>>;

/// A chart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chart {
    svg: String,
    /// What it shows, in a few words, for those who cannot see it.
    pub title: String,
}

impl Chart {
    /// For a page, in the colour of its text.
    pub fn inline(&self) -> String {
        let title = self.title.replace('&', "&amp;").replace('<', "&lt;");
        let title = title.replace('"', "&quot;");
        self.svg
            .replacen(
                NAME_SPACE,
                &format!(" role=\"img\" aria-label=\"{title}\""),
                1,
            )
            .replace(INK_WRITTEN, "currentColor")
    }

    /// For a file of its own, dark on white.
    pub fn file(&self) -> String {
        let paper = "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>";
        let svg = self.svg.replace(INK_WRITTEN, "#222222");
        match svg.split_once(">\n") {
            Some((head, rest)) => format!("{head}>\n{paper}\n{rest}"),
            None => svg,
        }
    }
}

fn style(size: i32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

/// A round value as it stands at an axis.
fn on_axis(value: f64) -> String {
    grouped(&((value * 1e6).round() / 1e6).to_string())
}

/// The digits of a number, with a comma between thousands.
pub(crate) fn grouped(text: &str) -> String {
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        let left = whole.len() - place;
        if place > 0 && left.is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

/// `text`, cut to `width` pixels.
fn fitted(text: &str, width: f64) -> String {
    let room = (width / CHARACTER).max(2.0) as usize;
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let cut: String = text.chars().take(room - 1).collect();
    cut + "…"
}
