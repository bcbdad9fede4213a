// Inception-v3 for 299×299 pictures, node for node as in torchvision.
#include <string>

#include "src/models/branches.hpp"
#include "src/models/builder.hpp"
#include "src/models/families.hpp"

namespace dtrain {
namespace {

constexpr Extent kRow7{1, 7};
constexpr Extent kColumn7{7, 1};
constexpr Extent kRow3{1, 3};
constexpr Extent kColumn3{3, 1};

constexpr Pool kSmooth{.kind = Pool::Kind::average, .kernel = 3, .stride = 1, .padding = 1};
constexpr Pool kHalve{.kind = Pool::Kind::max, .kernel = 3, .stride = 2};

/// A 3×3 convolution without padding: with stride 2 it makes the extents that kHalve makes.
Convolution convolution_valid(std::int64_t out_channels, std::int64_t stride) {
  return {.out_channels = out_channels, .kernel = 3, .stride = stride};
}

/// 35×35 pixels: 1×1, 5×5 and two 3×3 convolutions.
void append_inception_a(NetworkBuilder& net, const std::string& block, std::int64_t pool_features) {
  append_branches(net, block,
                  {{{"branch1x1", convolution_same(64, 1)}},
                   {{"branch5x5_1", convolution_same(48, 1)}, {"branch5x5_2", convolution_same(64, 5)}},
                   {{"branch3x3dbl_1", convolution_same(64, 1)},
                    {"branch3x3dbl_2", convolution_same(96, 3)},
                    {"branch3x3dbl_3", convolution_same(96, 3)}},
                   {{"avg_pool", kSmooth}, {"branch_pool", convolution_same(pool_features, 1)}}});
}

/// 35×35 to 17×17 pixels.
void append_inception_b(NetworkBuilder& net, const std::string& block) {
  append_branches(net, block,
                  {{{"branch3x3", convolution_valid(384, 2)}},
                   {{"branch3x3dbl_1", convolution_same(64, 1)},
                    {"branch3x3dbl_2", convolution_same(96, 3)},
                    {"branch3x3dbl_3", convolution_valid(96, 2)}},
                   {{"max_pool", kHalve}}});
}

/// 17×17 pixels: 7×7 convolutions as rows and columns.
void append_inception_c(NetworkBuilder& net, const std::string& block, std::int64_t width) {
  append_branches(net, block,
                  {{{"branch1x1", convolution_same(192, 1)}},
                   {{"branch7x7_1", convolution_same(width, 1)},
                    {"branch7x7_2", convolution_same(width, kRow7)},
                    {"branch7x7_3", convolution_same(192, kColumn7)}},
                   {{"branch7x7dbl_1", convolution_same(width, 1)},
                    {"branch7x7dbl_2", convolution_same(width, kColumn7)},
                    {"branch7x7dbl_3", convolution_same(width, kRow7)},
                    {"branch7x7dbl_4", convolution_same(width, kColumn7)},
                    {"branch7x7dbl_5", convolution_same(192, kRow7)}},
                   {{"avg_pool", kSmooth}, {"branch_pool", convolution_same(192, 1)}}});
}

/// 17×17 to 8×8 pixels.
void append_inception_d(NetworkBuilder& net, const std::string& block) {
  append_branches(net, block,
                  {{{"branch3x3_1", convolution_same(192, 1)}, {"branch3x3_2", convolution_valid(320, 2)}},
                   {{"branch7x7x3_1", convolution_same(192, 1)},
                    {"branch7x7x3_2", convolution_same(192, kRow7)},
                    {"branch7x7x3_3", convolution_same(192, kColumn7)},
                    {"branch7x7x3_4", convolution_valid(192, 2)}},
                   {{"max_pool", kHalve}}});
}

/// 8×8 pixels: two branches end in a row and a column beside each other. All parts go into one Concat, which saves copying
/// those of an inner one.
void append_inception_e(NetworkBuilder& net, const std::string& block) {
  const auto append = [&](LayerIndex input, const Branch& branch) { return append_branch(net, input, block + ".", branch); };
  const LayerIndex input = net.newest();
  const LayerIndex branch1x1 = append(input, {{"branch1x1", convolution_same(320, 1)}});
  const LayerIndex branch3x3 = append(input, {{"branch3x3_1", convolution_same(384, 1)}});
  const LayerIndex row = append(branch3x3, {{"branch3x3_2a", convolution_same(384, kRow3)}});
  const LayerIndex column = append(branch3x3, {{"branch3x3_2b", convolution_same(384, kColumn3)}});
  const LayerIndex branch3x3dbl =
      append(input, {{"branch3x3dbl_1", convolution_same(448, 1)}, {"branch3x3dbl_2", convolution_same(384, 3)}});
  const LayerIndex row_dbl = append(branch3x3dbl, {{"branch3x3dbl_3a", convolution_same(384, kRow3)}});
  const LayerIndex column_dbl = append(branch3x3dbl, {{"branch3x3dbl_3b", convolution_same(384, kColumn3)}});
  const LayerIndex pool = append(input, {{"avg_pool", kSmooth}, {"branch_pool", convolution_same(192, 1)}});
  net.concat(block + ".concat", {branch1x1, row, column, row_dbl, column_dbl, pool});
}

/// A classifier of what the newest node gives, 17×17 pixels or more. Weight of its loss: its authors' implementation (TF-slim).
void append_inception_aux(NetworkBuilder& net, std::int64_t num_classes) {
  const LayerIndex trunk = net.newest();
  append_branch(net, trunk, "AuxLogits.",
                {{"avg_pool", Pool{.kind = Pool::Kind::average, .kernel = 5, .stride = 3}},
                 {"conv0", convolution_same(128, 1)},
                 {"conv1", Convolution{.out_channels = 768, .kernel = 5}}});
  net.append("AuxLogits.adaptive_avg_pool", AdaptiveAveragePool{});
  net.append("AuxLogits.flatten", Flatten{});
  net.append("AuxLogits.fc", Linear{.out_features = num_classes,
                                    .initial = normal_draw(0.001).with(InitialDraw::Bias::uniform)});
  net.end_auxiliary_head(0.4f, trunk);
}

}  // namespace

NetworkSpec build_inception_v3(const FamilyOptions& options) {
  NetworkBuilder net(options.head);
  append_branch(net, kNetworkInput, "",
                {{"Conv2d_1a_3x3", convolution_valid(32, 2)},
                 {"Conv2d_2a_3x3", convolution_valid(32, 1)},
                 {"Conv2d_2b_3x3", convolution_same(64, 3)},
                 {"maxpool1", kHalve},
                 {"Conv2d_3b_1x1", convolution_same(80, 1)},
                 {"Conv2d_4a_3x3", convolution_valid(192, 1)},
                 {"maxpool2", kHalve}});
  append_inception_a(net, "Mixed_5b", 32);
  append_inception_a(net, "Mixed_5c", 64);
  append_inception_a(net, "Mixed_5d", 64);
  append_inception_b(net, "Mixed_6a");
  append_inception_c(net, "Mixed_6b", 128);
  append_inception_c(net, "Mixed_6c", 160);
  append_inception_c(net, "Mixed_6d", 160);
  append_inception_c(net, "Mixed_6e", 192);
  if (options.aux_heads) append_inception_aux(net, options.head.num_classes);
  append_inception_d(net, "Mixed_7a");
  append_inception_e(net, "Mixed_7b");
  append_inception_e(net, "Mixed_7c");
  net.append("avgpool", AdaptiveAveragePool{});
  net.append("dropout", Dropout{.probability = 0.5f});
  net.append("flatten", Flatten{});
  net.append("fc", Linear{.out_features = options.head.num_classes,
                          .initial = kQuietHead});
  net.draw_convolutions(normal_draw(0.1));
  return std::move(net).finish();
}

}  // namespace dtrain
