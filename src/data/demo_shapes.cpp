// Distances to the edges of the demo's figures, and their random proportions.
#include "demo_shapes.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace dtrain {
namespace {

constexpr double kPi = std::numbers::pi;
constexpr double kDegree = kPi / 180.0;

struct Point {
  double x = 0.0;
  double y = 0.0;
};

double square_distance(const Point& p, double half) { return std::max(std::abs(p.x), std::abs(p.y)) - half; }

double cross_distance(const Point& p, double arm) {
  const double x = std::abs(p.x), y = std::abs(p.y);
  const double long_side = std::max(x, y), short_side = std::min(x, y);
  return std::max(long_side - 0.95, short_side - arm);
}

/// Equilateral, its corners on the unit circle: the largest distance to one of three lines at 1/2 from the centre.
double triangle_distance(const Point& p) { return std::max(p.y, 0.5 * std::sqrt(3.0) * std::abs(p.x) - 0.5 * p.y) - 0.5; }

/// Five points on the unit circle, five notches at radius `inner`: fold the plane into one tenth, then one line.
double star_distance(const Point& p, double inner) {
  constexpr double kSector = 2.0 * kPi / 5.0;
  const double radius = std::hypot(p.x, p.y);
  const double angle = std::atan2(p.x, -p.y);  // from the upper point
  const double folded = std::abs(angle - kSector * std::round(angle / kSector));
  const Point q{radius * std::cos(folded), radius * std::sin(folded)};
  const Point notch{inner * std::cos(kSector / 2.0), inner * std::sin(kSector / 2.0)};
  // Line from the point (1, 0) to the notch; its normal pointing outwards.
  const Point along{notch.x - 1.0, notch.y};
  const double length = std::hypot(along.x, along.y);
  return ((q.x - 1.0) * along.y - q.y * along.x) / length;
}

/// Distance to the middle of the nearest bar of a grating whose bars and gaps are equally wide, less a quarter period.
double stripe_distance(double across, double period, double phase) {
  const double position = across / period + phase;
  return (std::abs(position - std::round(position)) - 0.25) * period;
}

double dots_distance(const Point& p, const DemoFigure& figure) {
  const double u = p.x / figure.proportion + figure.phase_x, v = p.y / figure.proportion + figure.phase_y;
  return (std::hypot(u - std::round(u), v - std::round(v)) - 0.32) * figure.proportion;
}

/// Product of two gratings: negative where both or neither are inside.
double checkerboard_distance(const Point& p, const DemoFigure& figure) {
  const double a = stripe_distance(p.x, figure.proportion, figure.phase_x);
  const double b = stripe_distance(p.y, figure.proportion, figure.phase_y);
  const double nearest = std::min(std::abs(a), std::abs(b));
  return a * b > 0.0 ? -nearest : nearest;
}

struct Ranges {
  double max_degrees = 0.0;  ///< rotation to either side
  double min_proportion = 0.5;
  double max_proportion = 0.5;
};

Ranges ranges_of(DemoShape shape) {
  switch (shape) {
    case DemoShape::checkerboard:
      return {12.0, 0.75, 1.1};
    case DemoShape::cross:
      return {18.0, 0.22, 0.34};
    case DemoShape::disc:
      return {0.0, 0.88, 1.0};
    case DemoShape::dots:
      return {15.0, 0.55, 0.85};
    case DemoShape::horizontal_stripes:
    case DemoShape::vertical_stripes:
      return {10.0, 0.45, 0.85};
    case DemoShape::ring:
      return {0.0, 0.45, 0.65};
    case DemoShape::square:
      return {18.0, 0.66, 0.71};
    case DemoShape::star:
      return {36.0, 0.36, 0.44};
    case DemoShape::triangle:
      return {25.0, 1.0, 1.0};
  }
  return {};
}

}  // namespace

DemoFigure draw_figure(DemoShape shape, Random& random) {
  const Ranges ranges = ranges_of(shape);
  const double angle = random.uniform(-ranges.max_degrees, ranges.max_degrees) * kDegree;
  DemoFigure figure{.shape = shape, .cosine = std::cos(angle), .sine = std::sin(angle)};
  figure.proportion = random.uniform(ranges.min_proportion, ranges.max_proportion);
  figure.phase_x = random.uniform();
  figure.phase_y = random.uniform();
  return figure;
}

double figure_distance(const DemoFigure& figure, double x, double y) {
  const Point p{figure.cosine * x + figure.sine * y, figure.cosine * y - figure.sine * x};
  switch (figure.shape) {
    case DemoShape::checkerboard:
      return checkerboard_distance(p, figure);
    case DemoShape::cross:
      return cross_distance(p, figure.proportion);
    case DemoShape::disc:
      return std::hypot(p.x, p.y) - figure.proportion;
    case DemoShape::dots:
      return dots_distance(p, figure);
    case DemoShape::horizontal_stripes:
      return stripe_distance(p.y, figure.proportion, figure.phase_y);
    case DemoShape::ring:
      return std::max(std::hypot(p.x, p.y) - 0.95, figure.proportion - std::hypot(p.x, p.y));
    case DemoShape::square:
      return square_distance(p, figure.proportion);
    case DemoShape::star:
      return star_distance(p, figure.proportion);
    case DemoShape::triangle:
      return triangle_distance(p);
    case DemoShape::vertical_stripes:
      return stripe_distance(p.x, figure.proportion, figure.phase_x);
  }
  return 1.0;
}

}  // namespace dtrain
