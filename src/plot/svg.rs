//! A scene as SVG, for papers.

use std::fmt::Write as _;

use super::scene::{Anchor, Item, Scene};

/// Returns the scene as an SVG file. Texts stay texts, in the reader's sans-serif font.
pub fn svg(scene: &Scene) -> String {
    let (width, height) = (number(scene.width), number(scene.height));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"'Noto Sans', Arial, Helvetica, \
         sans-serif\">\n<title>{}</title>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n",
        escaped(&scene.title)
    );
    for item in &scene.items {
        write_item(&mut out, item);
    }
    out.push_str("</svg>\n");
    out
}

/// Returns the scene as an element of an HTML page: without ground of its own, as wide as the page
/// lets it be, named by its title and `description` for those who do not see it. `id` is a name of
/// letters, digits and hyphens that nothing else on the page has. The page's style sheet may
/// recolour it by its `fill` and `stroke`.
pub fn svg_inline(scene: &Scene, id: &str, description: &str) -> String {
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" role=\"img\" \
         aria-labelledby=\"{id}-title {id}-description\" font-family=\"'Noto Sans', Arial, \
         Helvetica, sans-serif\">\n<title id=\"{id}-title\">{}</title>\n\
         <desc id=\"{id}-description\">{}</desc>\n",
        number(scene.width),
        number(scene.height),
        escaped(&scene.title),
        escaped(description)
    );
    for item in &scene.items {
        write_item(&mut out, item);
    }
    out.push_str("</svg>\n");
    out
}

fn write_item(out: &mut String, item: &Item) {
    // Writing to a String cannot fail.
    let _ = match item {
        Item::Rect { x, y, width, height, fill } => writeln!(
            out,
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\"/>",
            number(*x),
            number(*y),
            number(*width),
            number(*height),
            fill.hex()
        ),
        Item::Line { points, stroke, width } => {
            let places: Vec<String> =
                points.iter().map(|(x, y)| format!("{},{}", number(*x), number(*y))).collect();
            writeln!(
                out,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" \
                 stroke-linejoin=\"round\"/>",
                places.join(" "),
                stroke.hex(),
                number(*width)
            )
        }
        Item::Dot { x, y, radius, fill } => writeln!(
            out,
            "<circle cx=\"{}\" cy=\"{}\" r=\"{}\" fill=\"{}\"/>",
            number(*x),
            number(*y),
            number(*radius),
            fill.hex()
        ),
        Item::Text { x, y, text, size, anchor, fill, is_bold, turn } => {
            let (x, y) = (number(*x), number(*y));
            let mut style = match anchor {
                Anchor::Start => String::new(),
                Anchor::Middle => " text-anchor=\"middle\"".to_owned(),
                Anchor::End => " text-anchor=\"end\"".to_owned(),
            };
            if *is_bold {
                style.push_str(" font-weight=\"bold\"");
            }
            if *turn != 0.0 {
                style.push_str(&format!(" transform=\"rotate({} {x} {y})\"", number(*turn)));
            }
            writeln!(
                out,
                "<text x=\"{x}\" y=\"{y}\" font-size=\"{}\" fill=\"{}\"{style}>{}</text>",
                number(*size),
                fill.hex(),
                escaped(text)
            )
        }
    };
}

/// Returns a number with at most two digits behind the point.
fn number(value: f64) -> String {
    let fixed = format!("{value:.2}");
    let short = fixed.trim_end_matches('0').trim_end_matches('.');
    if short == "-0" { "0".to_owned() } else { short.to_owned() }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML 1.0 has no other control characters, not even as references.
            c if (c.is_control() && c != '\t' && c != '\n')
                || matches!(c, '\u{FFFE}' | '\u{FFFF}') =>
            {
                out.push('·');
            }
            c => out.push(c),
        }
    }
    out
}
