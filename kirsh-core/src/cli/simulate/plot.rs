//! Time against size, one line for each algorithm, as a PNG file.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use plotters::prelude::*;

use super::canvas::Canvas;
use crate::error::{Error, ErrorKind, Result};
use crate::model::Effort;
use crate::model::scenario::{Scenario, Simulated, simulate};

/// Pixels of the picture.
const SIZE: (u32, u32) = (1200, 800);

/// Steps for each point: sixty of them or so are to be there within seconds.
const EFFORT: Effort = Effort::of(100_000);

/// The smallest array that is drawn, and how many times as large the next is.
const BYTES_MIN: u64 = 1 << 10;
const GROWTH: u64 = 4;

/// Lines that can be told apart.
const COLORS: [RGBColor; 6] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 39, 40),
    RGBColor(44, 160, 44),
    RGBColor(148, 103, 189),
    RGBColor(255, 127, 14),
    RGBColor(23, 23, 23),
];

/// A line: its name, and its points as bytes and microseconds.
type Line = (&'static str, Vec<(f64, f64)>);

/// Draws the scenario at sizes from 1 KiB to four times its own, at least to 16 MiB.
///
/// # Errors
/// What the simulation fails with; `System` where the file cannot be written.
pub(super) fn draw(scenario: &Scenario, path: &Path) -> Result<()> {
    let lines = lines(scenario)?;
    let mut pixels = vec![255; (SIZE.0 * SIZE.1 * 3) as usize];
    paint(scenario, &lines, &mut pixels).map_err(|cause| {
        Error::new(ErrorKind::Internal, format!("the plot cannot be drawn: {cause}"))
    })?;
    write(path, &pixels)
        .map_err(|cause| Error::system(format!("writing {}", path.display()), &cause))
}

fn lines(scenario: &Scenario) -> Result<Vec<Line>> {
    let last = scenario.bytes.saturating_mul(4).max(16 << 20);
    let mut lines: Vec<Line> = Vec::new();
    let mut bytes = BYTES_MIN;
    while bytes <= last {
        for row in simulate(&Scenario { bytes, ..scenario.clone() }, EFFORT)? {
            let Simulated { algorithm, time_us, .. } = row;
            let point = (bytes as f64, time_us);
            match lines.iter_mut().find(|(name, _)| *name == algorithm.name()) {
                Some((_, points)) => points.push(point),
                None => lines.push((algorithm.name(), vec![point])),
            }
        }
        let Some(next) = bytes.checked_mul(GROWTH) else { break };
        bytes = next;
    }
    Ok(lines)
}

fn paint(
    scenario: &Scenario,
    lines: &[Line],
    pixels: &mut [u8],
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let all = || lines.iter().flat_map(|(_, points)| points);
    let bounds = |of: fn(&(f64, f64)) -> f64| {
        let (low, high) =
            all().map(of).fold((f64::MAX, f64::MIN_POSITIVE), |(low, high), value| {
                (low.min(value), high.max(value))
            });
        // A range of no width cannot be drawn on.
        (low.max(1e-3), high.max(low.max(1e-3) * 2.0))
    };
    let ((left, right), (bottom, top)) = (bounds(|point| point.0), bounds(|point| point.1));
    let area = Canvas(BitMapBackend::with_buffer(pixels, SIZE)).into_drawing_area();
    area.fill(&WHITE)?;
    let title = format!(
        "{} on {} ranks, {} to a host",
        scenario.collective, scenario.ranks, scenario.ranks_per_host
    );
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 24))
        .margin(20)
        .x_label_area_size(50)
        .y_label_area_size(110)
        .build_cartesian_2d((left..right).log_scale(), (bottom..top).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("bytes")
        .y_desc("microseconds")
        .x_label_formatter(&|bytes| sized(*bytes))
        .y_label_formatter(&|time| format!("{time:.0}"))
        .label_style(("sans-serif", 16))
        .draw()?;
    for ((name, points), color) in lines.iter().zip(COLORS.iter().cycle()) {
        let color = *color;
        chart
            .draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color.stroke_width(3)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE)
        .border_style(BLACK)
        .label_font(("sans-serif", 16))
        .draw()?;
    area.present()?;
    drop(chart);
    Ok(())
}

/// Bytes in the largest unit that leaves a whole number before the point.
fn sized(bytes: f64) -> String {
    let units = [(1e9, "G"), (1e6, "M"), (1e3, "K")];
    match units.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{:.0}{name}", bytes / unit),
        None => format!("{bytes:.0}"),
    }
}

fn write(path: &Path, pixels: &[u8]) -> std::io::Result<()> {
    let mut encoder = png::Encoder::new(BufWriter::new(File::create(path)?), SIZE.0, SIZE.1);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    Ok(writer.finish()?)
}
