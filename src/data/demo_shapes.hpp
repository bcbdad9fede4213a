// The ten classes of the demo data set as figures in a unit plane: which points are ink. Mirror-invariant as classes, so that
// training may mirror them. Draws no pixels.
#pragma once

#include <array>
#include <string_view>

#include "dtrain/random.hpp"

namespace dtrain {

enum class DemoShape { checkerboard, cross, disc, dots, horizontal_stripes, ring, square, star, triangle, vertical_stripes };

/// Class names in byte order: the order that open_image_folder gives them.
inline constexpr std::array<std::string_view, 10> kDemoClasses{
    "checkerboard", "cross", "disc", "dots", "horizontal_stripes", "ring", "square", "star", "triangle", "vertical_stripes"};

/// A figure with its random proportions. It lies within radius 1 of the origin (textures fill the square within −1…1).
struct DemoFigure {
  DemoShape shape = DemoShape::disc;
  double cosine = 1.0;  ///< of the rotation
  double sine = 0.0;
  double proportion = 0.5;  ///< inner radius, arm width, or period, by shape
  double phase_x = 0.0;     ///< of textures
  double phase_y = 0.0;
};

/// Draws rotation (as far as the class allows) and proportions.
DemoFigure draw_figure(DemoShape shape, Random& random);

/// Signed distance of a point to the figure's edge, negative inside; exact near the edge or a lower bound of it, which is what
/// antialiasing needs.
double figure_distance(const DemoFigure& figure, double x, double y);

}  // namespace dtrain
