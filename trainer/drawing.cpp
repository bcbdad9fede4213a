// Pieces of SVG; see drawing.hpp.
#include "trainer/drawing.hpp"

#include <array>
#include <cmath>
#include <cstdio>

namespace dtrain {

std::string pixels_text(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f", value);
  return text.data();
}

std::string axis_text(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.4g", value);
  return text.data();
}

std::string escaped_for_svg(const std::string& text) {
  std::string result;
  for (const char letter : text) {
    if (letter == '<') {
      result += "&lt;";
    } else if (letter == '&') {
      result += "&amp;";
    } else if (static_cast<unsigned char>(letter) >= 0x20) {
      result += letter;
    }
  }
  return result;
}

double tick_of(double largest, double most) {
  const double power = std::pow(10.0, std::floor(std::log10(largest)));
  for (const double step : {0.1, 0.2, 0.5, 1.0, 2.0}) {
    if (largest / (step * power) <= most) return step * power;
  }
  return 5.0 * power;
}

void Canvas::line(double x1, double y1, double x2, double y2, const char* style) {
  svg_ += "<line x1=\"" + pixels_text(x1) + "\" y1=\"" + pixels_text(y1) + "\" x2=\"" + pixels_text(x2) + "\" y2=\"" +
          pixels_text(y2) + "\" class=\"" + style + "\"/>\n";
}

void Canvas::box(double x, double y, double width, double height, const char* style) {
  svg_ += "<rect x=\"" + pixels_text(x) + "\" y=\"" + pixels_text(y) + "\" width=\"" + pixels_text(width) + "\" height=\"" +
          pixels_text(height) + "\" class=\"" + style + "\"/>\n";
}

void Canvas::dot(double x, double y, double radius, const std::string& style) {
  svg_ += "<circle cx=\"" + pixels_text(x) + "\" cy=\"" + pixels_text(y) + "\" r=\"" + pixels_text(radius) + "\" class=\"" +
          style + "\"/>\n";
}

void Canvas::text(double x, double y, const std::string& words, const char* style, const char* anchor, double turned) {
  svg_ +=
      "<text x=\"" + pixels_text(x) + "\" y=\"" + pixels_text(y) + "\" class=\"" + style + "\" text-anchor=\"" + anchor + "\"";
  if (turned != 0.0) {
    svg_ += " transform=\"rotate(" + pixels_text(turned) + " " + pixels_text(x) + " " + pixels_text(y) + ")\"";
  }
  svg_ += ">" + escaped_for_svg(words) + "</text>\n";
}

void Canvas::curve(const std::vector<std::pair<double, double>>& points, const std::string& style) {
  svg_ += "<polyline class=\"" + style + "\" points=\"";
  for (const auto& [x, y] : points) svg_ += pixels_text(x) + "," + pixels_text(y) + " ";
  svg_ += "\"/>\n";
}

Axis Axis::up_to(double largest, double most_ticks) {
  const double value = largest > 0.0 ? largest : 1.0;
  const double tick = tick_of(value, most_ticks);
  return {.ticks = tick, .largest = std::ceil(value / tick - 1e-9) * tick};
}

void Axis::draw(Canvas& canvas, const std::string& name) const {
  for (int k = 0; k * ticks <= largest * 1.0001; ++k) {
    canvas.line(left, y_of(k * ticks), right, y_of(k * ticks), k == 0 ? "axis" : "grid");
    canvas.text(left - 8.0, y_of(k * ticks) + 4.0, axis_text(k * ticks), "tick", "end");
  }
  canvas.line(left, top, left, top + height, "axis");
  canvas.text(20.0, top + height / 2.0, name, "name", "middle", -90.0);
}

}  // namespace dtrain
