// Which nodes become one operation, and that what remains is the same network in a valid order.
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "dtrain/error.hpp"
#include "dtrain/models.hpp"
#include "src/nn/fusion.hpp"
#include "tests/nn/compiled_network.hpp"
#include "tests/nn/small_networks.hpp"

namespace dtrain::nn {
namespace {

const Convolution kConv{.out_channels = 16, .kernel = 3, .padding = 1};

NetworkBuilder begin() { return NetworkBuilder(network_head(16, 8)); }

/// "bn add relu < conv, shortcut": an operation's nodes and what it reads, by the names of the nodes that give those results.
std::vector<std::string> in_words(const NetworkSpec& network, const std::vector<Operation>& operations) {
  const auto name = [&](LayerIndex node) { return network.nodes[static_cast<std::size_t>(node)].name; };
  std::vector<std::string> lines;
  for (const Operation& operation : operations) {
    std::string line;
    for (const LayerIndex node : operation.nodes) line += name(node) + " ";
    line += "<";
    for (const int input : operation.inputs) {
      line += ' ';
      line += input == kNetworkInput ? "pictures" : name(operations[static_cast<std::size_t>(input)].nodes.back());
    }
    lines.push_back(line);
  }
  return lines;
}

std::vector<std::string> fused(NetworkBuilder net) {
  const NetworkSpec network = std::move(net).finish();
  return in_words(network, fuse(network));
}

using Lines = std::vector<std::string>;

TEST(Fusion, TakesAReluIntoTheBatchNormInFront) {
  NetworkBuilder net = begin();
  net.append("conv", kConv);
  net.append("bn", BatchNorm{});
  net.append("relu", Relu{});

  EXPECT_EQ(fused(std::move(net)), (Lines{"conv < pictures", "bn relu < conv"}));
}

TEST(Fusion, TakesAddAndReluIntoTheBatchNormInFront) {
  NetworkBuilder net = begin();
  const LayerIndex shortcut = net.append("conv1", kConv);
  net.append("conv2", kConv);
  const LayerIndex branch = net.append("bn", BatchNorm{});
  net.add("add", branch, shortcut);
  net.append("relu", Relu{});

  EXPECT_EQ(fused(std::move(net)), (Lines{"conv1 < pictures", "conv2 < conv1", "bn add relu < conv2 conv1"}));
}

TEST(Fusion, TakesAnAddWithoutReluIntoTheBatchNorm) {
  NetworkBuilder net = begin();
  const LayerIndex shortcut = net.append("conv1", kConv);
  net.append("conv2", kConv);
  const LayerIndex branch = net.append("bn", BatchNorm{});
  net.add("add", branch, shortcut);
  net.append("conv3", kConv);

  EXPECT_EQ(fused(std::move(net)), (Lines{"conv1 < pictures", "conv2 < conv1", "bn add < conv2 conv1", "conv3 < add"}));
}

TEST(Fusion, TakesAReluIntoAnAddWithoutBatchNorm) {
  NetworkBuilder net = begin();
  const LayerIndex a = net.append("conv1", kConv);
  const LayerIndex b = net.append("conv2", kConv);
  net.add("add", a, b);
  net.append("relu", Relu{});

  EXPECT_EQ(fused(std::move(net)), (Lines{"conv1 < pictures", "conv2 < conv1", "add relu < conv1 conv2"}));
}

TEST(Fusion, TakesAReluWithACeilingIntoTheBatchNormInFrontButNoPoolBehindIt) {
  NetworkBuilder net = begin();
  net.append("conv", kConv);
  net.append("bn", BatchNorm{});
  net.append("relu", Relu{.ceiling = 6.0f});
  net.append("pool", Pool{.kind = Pool::Kind::max, .kernel = 2, .stride = 2});
  const NetworkSpec network = std::move(net).finish();
  const std::vector<Operation> operations = fuse(network);

  EXPECT_EQ(in_words(network, operations), (Lines{"conv < pictures", "bn relu < conv", "pool < relu"}));
  EXPECT_EQ(operations[1].ceiling, 6.0f);
  EXPECT_EQ(operations[0].ceiling, kNoCeiling);
}

TEST(Fusion, LeavesAReluWithACeilingToItselfBehindConvolutionAndAdd) {
  NetworkBuilder net = begin();
  net.append("conv1", kConv);
  const LayerIndex a = net.append("relu1", Relu{.ceiling = 6.0f});
  const LayerIndex b = net.append("conv2", kConv);
  net.add("add1", a, b);
  const LayerIndex c = net.append("relu2", Relu{.ceiling = 6.0f});
  net.append("conv3", kConv);
  const LayerIndex d = net.append("bn", BatchNorm{});
  net.add("add2", d, c);
  net.append("relu3", Relu{.ceiling = 6.0f});

  EXPECT_EQ(fused(std::move(net)), (Lines{"conv1 < pictures", "relu1 < conv1", "conv2 < relu1", "add1 < relu1 conv2",
                                          "relu2 < add1", "conv3 < relu2", "bn add2 < conv3 relu2", "relu3 < add2"}));
}

Fusions all_but(bool Fusions::*left_out) {
  Fusions fusions;
  fusions.*left_out = false;
  return fusions;
}

TEST(Fusion, CanLeaveOutEachStep) {
  NetworkBuilder net = begin();
  net.append("conv1", kConv);
  net.append("relu1", Relu{});
  net.append("conv2", kConv);
  net.append("bn2", BatchNorm{});
  const LayerIndex shortcut = net.append("relu2", Relu{});
  net.append("conv3", kConv);
  const LayerIndex branch = net.append("bn3", BatchNorm{});
  net.add("add", branch, shortcut);
  const LayerIndex sum = net.append("relu3", Relu{});
  const LayerIndex more = net.append("conv4", kConv);
  net.concat("cat", {sum, more});
  net.append("bn4", BatchNorm{});
  net.append("relu4", Relu{});
  net.append("pool", Pool{.kind = Pool::Kind::max, .kernel = 2, .stride = 2});
  const NetworkSpec network = std::move(net).finish();
  const auto operations = [&](const Fusions& fusions) { return fuse(network, fusions).size(); };

  EXPECT_EQ(operations({}), 8U);  // conv1 relu1, conv2, bn2 relu2, conv3, bn3 add relu3, conv4, cat bn4 relu4, pool
  EXPECT_EQ(operations(all_but(&Fusions::conv_relu)), 9U);
  EXPECT_EQ(operations(all_but(&Fusions::norm_relu)), 11U);
  EXPECT_EQ(operations(all_but(&Fusions::norm_add)), 9U);
  EXPECT_EQ(operations(all_but(&Fusions::norm_concat)), 8U);  // then bn4 takes in the pool
  EXPECT_EQ(operations(all_but(&Fusions::norm_pool)), 8U);
  EXPECT_EQ(operations(parse_fusions("none")), network.nodes.size() - 1);  // an Add keeps its ReLU
}

TEST(Fusion, PutsAReluBehindTheMaxPoolingThatAloneReadsIt) {
  NetworkBuilder net = begin();
  net.append("conv1", kConv);
  net.append("relu1", Relu{});
  net.append("pool1", Pool{.kind = Pool::Kind::max, .kernel = 2, .stride = 2});
  net.append("conv2", kConv);
  net.append("relu2", Relu{});
  net.append("pool2", Pool{.kind = Pool::Kind::average, .kernel = 2, .stride = 2});
  net.append("relu3", Relu{});
  const NetworkSpec network = std::move(net).finish();

  EXPECT_EQ(in_words(network, fuse(network)),
            (Lines{"conv1 < pictures", "relu1 pool1 < conv1", "conv2 relu2 < pool1", "pool2 < relu2", "relu3 < pool2"}));
  EXPECT_TRUE(fuse(network)[1].relu);
  EXPECT_EQ(in_words(network, fuse(network, all_but(&Fusions::relu_pool)))[0], "conv1 relu1 < pictures");
}

TEST(Fusion, IsReadFromItsNames) {
  EXPECT_EQ(parse_fusions("all"), Fusions{});
  Fusions two = parse_fusions("none");
  two.norm_relu = two.conv_relu = true;
  EXPECT_EQ(parse_fusions("norm-relu,conv-relu"), two);
  for (const char* text : {"", "norm", "norm-relu,", ",norm-relu", "norm-relu,,conv-relu", "all,none"}) {
    EXPECT_THROW((void)parse_fusions(text), ConfigError) << text;
  }
}

TEST(Fusion, LetsABatchNormReadTheInputsOfAConcat) {
  NetworkBuilder net = begin();
  const LayerIndex a = net.append("a", kConv);
  const LayerIndex b = net.append("b", kConv);
  net.concat("cat1", {a, b});
  net.append("bn1", BatchNorm{});
  net.append("relu", Relu{});
  const LayerIndex c = net.append("c", kConv);
  net.concat("cat2", {a, b, c});
  net.append("bn2", BatchNorm{});

  EXPECT_EQ(fused(std::move(net)), (Lines{"a < pictures", "b < a", "cat1 bn1 relu < a b", "c < relu", "cat2 bn2 < a b c"}));
}

TEST(Fusion, LeavesAConcatThatABatchNormCannotReadInParts) {
  NetworkBuilder net = begin();
  const LayerIndex a = net.append("a", kConv);
  const LayerIndex odd = net.append("odd", Convolution{.out_channels = 20});
  net.concat("cat1", {a, odd});
  net.append("bn1", BatchNorm{});
  net.concat("cat2", {a, a});
  net.append("bn2", BatchNorm{});
  const LayerIndex twice = net.concat("cat3", {a, net.newest()});
  net.append("bn3", BatchNorm{});
  net.append_behind(twice, "other", kConv);

  EXPECT_EQ(fused(std::move(net)), (Lines{"a < pictures", "odd < a", "cat1 < a odd", "bn1 < cat1", "cat2 < a a", "bn2 < cat2",
                                          "cat3 < a bn2", "bn3 < cat3", "other < cat3"}));
}

TEST(Fusion, LeavesAReluThatWritesIntoAConcat) {
  NetworkBuilder net = begin();
  net.append("conv1", kConv);
  const LayerIndex a = net.append("relu1", Relu{});
  net.append_behind(kNetworkInput, "conv2", kConv);
  const LayerIndex b = net.append("relu2", Relu{});
  net.concat("cat", {a, b});
  net.append("conv3", kConv);
  net.append("relu3", Relu{});

  EXPECT_EQ(fused(std::move(net)), (Lines{"conv1 < pictures", "relu1 < conv1", "conv2 < pictures", "relu2 < conv2",
                                          "cat < relu1 relu2", "conv3 relu3 < cat"}));
}

const Pool kMaxPool{.kind = Pool::Kind::max, .kernel = 3, .stride = 2, .padding = 1};

TEST(Fusion, TakesReluAndMaxPoolingIntoTheBatchNormInFront) {
  NetworkBuilder net = begin();
  net.append("conv", kConv);
  net.append("bn", BatchNorm{});
  net.append("relu", Relu{});
  net.append("pool", kMaxPool);
  const NetworkSpec network = std::move(net).finish();

  const std::vector<Operation> operations = fuse(network);

  ASSERT_EQ(in_words(network, operations), (Lines{"conv < pictures", "bn relu pool < conv"}));
  EXPECT_TRUE(operations[1].relu);
  ASSERT_TRUE(operations[1].pool.has_value());
  EXPECT_EQ(operations[1].pool->stride, 2);
}

TEST(Fusion, LeavesAveragePoolingAlone) {
  NetworkBuilder net = begin();
  net.append("conv", kConv);
  net.append("bn", BatchNorm{});
  net.append("relu", Relu{});
  net.append("pool", Pool{.kind = Pool::Kind::average});

  EXPECT_EQ(fused(std::move(net)), (Lines{"conv < pictures", "bn relu < conv", "pool < relu"}));
}

TEST(Fusion, LeavesMaxPoolingAloneWithoutAReluOrBehindASum) {
  NetworkBuilder net = begin();
  const LayerIndex shortcut = net.append("conv", kConv);
  const LayerIndex norm = net.append("bn", BatchNorm{});
  net.add("add", norm, shortcut);
  net.append("relu", Relu{});
  net.append("pool1", kMaxPool);
  net.append("bn2", BatchNorm{});
  net.append("pool2", kMaxPool);

  EXPECT_EQ(fused(std::move(net)),
            (Lines{"conv < pictures", "bn add relu < conv conv", "pool1 < relu", "bn2 < pool1", "pool2 < bn2"}));
}

TEST(Fusion, LeavesMaxPoolingAloneWhoseReluHasASecondReader) {
  NetworkBuilder net = begin();
  net.append("conv", kConv);
  net.append("bn", BatchNorm{});
  const LayerIndex relu = net.append("relu", Relu{});
  const LayerIndex pool = net.append("pool", Pool{.kind = Pool::Kind::max, .kernel = 3, .stride = 1, .padding = 1});
  net.add("add", relu, pool);

  EXPECT_EQ(fused(std::move(net)), (Lines{"conv < pictures", "bn relu < conv", "pool < relu", "add < relu pool"}));
}

TEST(Fusion, LeavesAReluAloneWhoseProducerHasASecondReader) {
  NetworkBuilder net = begin();
  net.append("conv", kConv);
  const LayerIndex norm = net.append("bn", BatchNorm{});
  const LayerIndex relu = net.append("relu", Relu{});
  const LayerIndex conv = net.append_behind(norm, "conv2", kConv);
  net.add("add", relu, conv);

  EXPECT_EQ(fused(std::move(net)), (Lines{"conv < pictures", "bn < conv", "relu < bn", "conv2 < bn", "add < relu conv2"}));
}

TEST(Fusion, LeavesAReluAloneWhoseAddHasASecondReader) {
  NetworkBuilder net = begin();
  const LayerIndex shortcut = net.append("conv", kConv);
  const LayerIndex norm = net.append("bn", BatchNorm{});
  const LayerIndex sum = net.add("add", norm, shortcut);
  const LayerIndex relu = net.append("relu", Relu{});
  net.add("add2", sum, relu);

  EXPECT_EQ(fused(std::move(net)), (Lines{"conv < pictures", "bn add < conv conv", "relu < add", "add2 < add relu"}));
}

TEST(Fusion, LeavesAnAddAloneThatReadsTheBatchNormTwice) {
  NetworkBuilder net = begin();
  net.append("conv", kConv);
  const LayerIndex norm = net.append("bn", BatchNorm{});
  net.add("add", norm, norm);
  net.append("relu", Relu{});

  EXPECT_EQ(fused(std::move(net)), (Lines{"conv < pictures", "bn < conv", "add relu < bn bn"}));
}

TEST(Fusion, GivesAnAddOfTwoBatchNormsToTheFirst) {
  // The first batch-norm then runs where the Add stands, behind the second, whose result it reads.
  NetworkBuilder net = begin();
  const LayerIndex input = net.append("conv", kConv);
  net.append_behind(input, "conv_a", kConv);
  const LayerIndex a = net.append("bn_a", BatchNorm{});
  net.append_behind(input, "conv_b", kConv);
  const LayerIndex b = net.append("bn_b", BatchNorm{});
  net.add("add", a, b);
  net.append("relu", Relu{});

  EXPECT_EQ(fused(std::move(net)),
            (Lines{"conv < pictures", "conv_a < conv", "conv_b < conv", "bn_b < conv_b", "bn_a add relu < conv_a bn_b"}));
}

TEST(Fusion, MarksReluOnlyWhereItWasTakenIn) {
  NetworkBuilder net = begin();
  net.append("conv", kConv);
  net.append("relu1", Relu{});
  net.append("bn", BatchNorm{});
  net.append("relu2", Relu{});
  net.append("relu3", Relu{});
  net.append("last", kConv);
  const NetworkSpec network = std::move(net).finish();

  const std::vector<Operation> operations = fuse(network);

  ASSERT_EQ(in_words(network, operations),
            (Lines{"conv relu1 < pictures", "bn relu2 < relu1", "relu3 < relu2", "last < relu3"}));
  EXPECT_TRUE(operations[0].relu);
  EXPECT_TRUE(operations[1].relu);
  EXPECT_FALSE(operations[2].relu);  // it is a ReLU, none was taken in
  EXPECT_FALSE(operations[3].relu);
}

TEST(Fusion, LeavesOutInEvaluationWhatOnlyAuxiliaryOutputsDependOn) {
  NetworkBuilder net = begin();
  net.append("conv", kConv);
  net.append("bn", BatchNorm{});
  const LayerIndex value = net.append("relu", Relu{});
  net.append("aux", kConv);
  net.append("aux.relu", Relu{});
  net.end_auxiliary_head(0.5f, value);
  net.append("pool", kMaxPool);
  const NetworkSpec network = std::move(net).finish();

  const std::vector<Operation> training = fuse(network);
  const std::vector<Operation> evaluation = fuse(network, {}, false);

  EXPECT_EQ(in_words(network, training), (Lines{"conv < pictures", "bn relu < conv", "aux aux.relu < relu", "pool < relu"}));
  EXPECT_EQ(training[2].output, 1);
  EXPECT_EQ(training[3].output, 0);
  EXPECT_EQ(in_words(network, evaluation), (Lines{"conv < pictures", "bn relu pool < conv"}));
  EXPECT_EQ(evaluation[0].output, -1);
  EXPECT_EQ(evaluation[1].output, 0);
}

std::vector<NetworkSpec> all_networks() {
  std::vector<NetworkSpec> networks = small_networks();
  for (const char* name : {"resnet18", "resnet50", "resnet20", "mobilenet_v2", "lenet5"})
    networks.push_back(build_model(name, {}));
  return networks;
}

TEST(Fusion, CoversEveryNodeOfEveryNetworkOnce) {
  for (const NetworkSpec& network : all_networks()) {
    std::multiset<LayerIndex> covered;
    for (const Operation& operation : fuse(network)) covered.insert(operation.nodes.begin(), operation.nodes.end());

    ASSERT_EQ(covered.size(), network.nodes.size()) << network.name;
    for (LayerIndex node = 0; node < static_cast<LayerIndex>(network.nodes.size()); ++node) {
      ASSERT_EQ(covered.count(node), 1u) << network.name << ", node " << network.nodes[static_cast<std::size_t>(node)].name;
    }
  }
}

TEST(Fusion, ReadsOnlyEarlierOperationsThatGiveWhatTheNodesRead) {
  for (const NetworkSpec& network : all_networks()) {
    const std::vector<Operation> operations = fuse(network);
    for (std::size_t i = 0; i < operations.size(); ++i) {
      // What the nodes read from outside the operation, in order; what they read inside is the node before.
      std::vector<LayerIndex> wanted;
      for (std::size_t k = 0; k < operations[i].nodes.size(); ++k) {
        for (const LayerIndex input : network.nodes[static_cast<std::size_t>(operations[i].nodes[k])].inputs) {
          if (k == 0 || input != operations[i].nodes[k - 1]) wanted.push_back(input);
        }
      }
      std::vector<LayerIndex> read;
      for (const int input : operations[i].inputs) {
        ASSERT_LT(input, static_cast<int>(i)) << network.name;
        read.push_back(input == kNetworkInput ? kNetworkInput : operations[static_cast<std::size_t>(input)].nodes.back());
      }
      ASSERT_EQ(read, wanted) << network.name << ", operation " << i;
    }
  }
}

TEST(Fusion, LeavesResnet50TheOperationsItsStructureImplies) {
  const NetworkSpec network = build_model("resnet50", {});

  const std::vector<Operation> operations = fuse(network);

  // 53 convolutions with a batch-norm each, avgpool, flatten, fc; every Add, every ReLU and the maxpool are taken in.
  EXPECT_EQ(operations.size(), 2u * 53u + 3u);
  int with_residual = 0;
  for (const Operation& operation : operations) with_residual += operation.inputs.size() == 2 ? 1 : 0;
  EXPECT_EQ(with_residual, 16);
}

TEST(Fusion, LeavesResnet18TheOperationsItsStructureImplies) {
  const std::vector<Operation> operations = fuse(build_model("resnet18", {}));

  EXPECT_EQ(operations.size(), 2u * 20u + 3u);  // 20 convolutions with a batch-norm each, one takes in the maxpool
}

}  // namespace
}  // namespace dtrain::nn
