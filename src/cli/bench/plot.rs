//! Latencies as a picture: by percentile for one run, by load for several.

use plotters::prelude::{
    BLACK, ChartBuilder, IntoDrawingArea as _, IntoLogRange as _, LineSeries, RGBColor, SVGBackend, WHITE,
};

use super::{
    report::{Run, shown},
    sample::PERCENTILES,
};

const SIZE: (u32, u32) = (960, 540);
/// One a percentile; told apart by who does not see red from green too (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(86, 180, 233),
    RGBColor(0, 158, 115),
    RGBColor(230, 159, 0),
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
];

/// A line of the picture: its name and its points.
type Line = (String, Vec<(f64, f64)>);

/// The picture as SVG.
pub(super) fn svg(runs: &[Run]) -> anyhow::Result<String> {
    let mut text = String::new();
    let drawn = match runs {
        [run] => draw(
            &mut text,
            "latency by percentile",
            "share of calls that took longer: 1 in",
            &[by_percentile(run)],
        ),
        runs => draw(
            &mut text,
            "latency by load",
            "decisions asked for a second",
            &by_load(runs),
        ),
    };
    drawn.map_err(|error| anyhow::anyhow!("the plot: {error}"))?;
    Ok(text)
}

/// How rare a call is, and how long such a one took: 1 in 2, 1 in 10, up to the rarest there was.
fn by_percentile(run: &Run) -> Line {
    let calls = run.sample.latency.len().max(2);
    let mut points = Vec::new();
    let mut one_in = 2.0;
    #[expect(clippy::cast_precision_loss, reason = "a picture")]
    while one_in <= calls as f64 {
        let nanoseconds = run.percentile(100.0 * (1.0 - 1.0 / one_in));
        points.push((one_in, nanoseconds.max(1) as f64));
        one_in *= 1.25;
    }
    (format!("{:.0} decisions/s", run.rate()), points)
}

fn by_load(runs: &[Run]) -> Vec<Line> {
    let line = |(name, percentile): (&str, f64)| {
        #[expect(clippy::cast_precision_loss, reason = "a picture")]
        let point = |run: &Run| (run.rate(), run.percentile(percentile).max(1) as f64);
        (name.to_owned(), runs.iter().map(point).collect())
    };
    PERCENTILES.map(line).to_vec()
}

fn draw(
    text: &mut String,
    title: &str,
    below: &str,
    lines: &[Line],
) -> Result<(), Box<dyn std::error::Error>> {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let bounds = |of: fn(&(f64, f64)) -> f64| {
        let (low, high) = points().map(of).fold((f64::MAX, f64::MIN), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        if low < high {
            (low, high)
        } else {
            (low / 2.0, low.max(1.0) * 2.0)
        }
    };
    let ((left, right), (bottom, top)) = (bounds(|point| point.0), bounds(|point| point.1));
    let area = SVGBackend::with_string(text, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 22))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(76)
        .build_cartesian_2d((left..right).log_scale(), (bottom / 1.2..top * 1.2).log_scale())?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a label")]
    let time = |nanoseconds: &f64| shown(*nanoseconds as u64);
    chart
        .configure_mesh()
        .x_desc(below)
        .y_desc("latency")
        .x_label_formatter(&|value| format!("{value:.0}"))
        .y_label_formatter(&time)
        .draw()?;
    for ((name, points), colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let series = chart.draw_series(LineSeries::new(points.iter().copied(), *colour))?;
        let colour = *colour;
        series
            .label(name)
            .legend(move |(x, y)| plotters::element::PathElement::new(vec![(x, y), (x + 18, y)], colour));
    }
    chart
        .configure_series_labels()
        .border_style(BLACK)
        .background_style(WHITE)
        .draw()?;
    area.present()?;
    drop(chart);
    drop(area);
    Ok(())
}
