// Lines, boxes and texts of an SVG, and the axes of its panels: what drawings of plans and of runs have in common.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace dtrain {

/// A coordinate, to a tenth of a pixel.
std::string pixels_text(double value);
/// A number beside an axis.
std::string axis_text(double value);
/// Text inside an SVG: what would be markup is none, and control characters are left out.
std::string escaped_for_svg(const std::string& text);

/// 1, 2 or 5 times a power of ten, so that an axis up to `largest`, above 0, has at most so many of them.
double tick_of(double largest, double most);

class Canvas {
 public:
  void line(double x1, double y1, double x2, double y2, const char* style);
  void box(double x, double y, double width, double height, const char* style);
  void dot(double x, double y, double radius, const std::string& style);
  void text(double x, double y, const std::string& words, const char* style, const char* anchor, double turned = 0.0);
  void curve(const std::vector<std::pair<double, double>>& points, const std::string& style);
  std::string take() { return std::move(svg_); }

 private:
  std::string svg_;
};

/// A vertical axis from 0, with its grid.
struct Axis {
  double top = 0.0, height = 0.0;  ///< pixels
  double left = 0.0, right = 0.0;
  double ticks = 0.0;    ///< between two of them
  double largest = 0.0;  ///< value at the top

  /// For values up to `largest`; 0 or less: up to 1.
  static Axis up_to(double largest, double most_ticks);
  double y_of(double value) const { return top + height - value / largest * height; }
  void draw(Canvas& canvas, const std::string& name) const;
};

}  // namespace dtrain
