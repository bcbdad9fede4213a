// Layouts and arenas of parameters.
#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <stdexcept>

#include "dtrain/parameters.hpp"
#include "tests/core/fixtures.hpp"

namespace dtrain {
namespace {

using test::blocked_layout;
using test::entries_of;
using test::small_network;
using test::StoreLayout;

std::vector<float> counting(std::int64_t count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  std::iota(values.begin(), values.end(), 1.0f);
  return values;
}

TEST(Layout, PlainHasRowMajorOffsets) {
  const Layout layout = plain_layout({2, 3, 4});

  EXPECT_EQ(layout.size, 24);
  EXPECT_EQ(layout.offsets, (std::vector<std::vector<std::int64_t>>{{0, 12}, {0, 4, 8}, {0, 1, 2, 3}}));
}

TEST(Layout, PlainOfAScalarIsOneElement) {
  const Layout layout = plain_layout({});
  const std::vector<float> value{3.0f};
  std::vector<float> copy(1);

  copy_to_plain(layout, value, copy);

  EXPECT_EQ(layout.size, 1);
  EXPECT_EQ(copy, value);
}

TEST(Layout, PutsEveryElementWhereItsTablesSay) {
  const Shape shape{5, 6, 2, 3};
  const Layout layout = blocked_layout(shape);
  const std::vector<float> plain = counting(element_count(shape));
  std::vector<float> slot(static_cast<std::size_t>(layout.size), 0.0f);

  copy_from_plain(layout, plain, slot);

  // OIhw4i4o by its definition, written out: (o/4, i/4, h, w, i%4, o%4), two blocks of i.
  for (std::int64_t o = 0; o < 5; ++o) {
    for (std::int64_t i = 0; i < 6; ++i) {
      for (std::int64_t h = 0; h < 2; ++h) {
        for (std::int64_t w = 0; w < 3; ++w) {
          const std::int64_t at = ((((o / 4 * 2 + i / 4) * 2 + h) * 3 + w) * 4 + i % 4) * 4 + o % 4;
          const std::int64_t from = ((o * 6 + i) * 2 + h) * 3 + w;
          ASSERT_EQ(slot[static_cast<std::size_t>(at)], plain[static_cast<std::size_t>(from)]);
        }
      }
    }
  }
}

TEST(Layout, LeavesPaddingAlone) {
  const Shape shape{5, 3, 1, 1};
  const Layout layout = blocked_layout(shape);
  std::vector<float> slot(static_cast<std::size_t>(layout.size), -1.0f);

  copy_from_plain(layout, counting(15), slot);

  EXPECT_EQ(std::count(slot.begin(), slot.end(), -1.0f), layout.size - 15);
}

TEST(Layout, GivesBackWhatWasCopiedInAtAnySize) {
  for (const Shape& shape :
       {Shape{1}, Shape{17}, Shape{1, 1}, Shape{9, 31}, Shape{130, 70, 3, 3}, Shape{1030, 1025}, Shape{0, 4}, Shape{3, 0}}) {
    const Layout layout = shape.size() < 2 ? plain_layout(shape) : blocked_layout(shape);
    const std::vector<float> plain = counting(element_count(shape));
    std::vector<float> slot(static_cast<std::size_t>(layout.size));
    std::vector<float> back(plain.size());

    copy_from_plain(layout, plain, slot);
    copy_to_plain(layout, slot, back);

    EXPECT_EQ(back, plain) << to_text(shape);
  }
}

TEST(Layout, RefusesSpansOfAnotherSize) {
  const Layout layout = plain_layout({2, 2});
  std::vector<float> four(4);
  std::vector<float> five(5);

  EXPECT_THROW(copy_to_plain(layout, five, four), std::logic_error);
  EXPECT_THROW(copy_from_plain(layout, five, four), std::logic_error);
}

TEST(ParameterSpec, DecaysOnlyConvolutionAndLinearWeights) {
  using Kind = ParameterSpec::Kind;
  const auto decays = [](Kind kind) { return ParameterSpec{.name = "a", .shape = {1}, .kind = kind}.decays(); };

  EXPECT_TRUE(decays(Kind::conv_weight));
  EXPECT_TRUE(decays(Kind::linear_weight));
  for (const Kind kind : {Kind::bias, Kind::norm_weight, Kind::norm_bias, Kind::running_mean, Kind::running_var}) {
    EXPECT_FALSE(decays(kind));
  }
}

TEST(ParameterStore, KeepsTheOrderAndAlignsEverySlot) {
  const ParameterStore store(entries_of(small_network(), StoreLayout::blocked));

  std::vector<std::string> names;
  std::int64_t end = 0;
  for (const Slot& slot : store.trained_slots()) {
    names.push_back(slot.spec.name);
    EXPECT_EQ(slot.offset, end) << slot.spec.name;
    EXPECT_EQ(slot.offset % kSlotAlignment, 0);
    end = (slot.offset + slot.size + kSlotAlignment - 1) / kSlotAlignment * kSlotAlignment;
  }
  EXPECT_EQ(names, (std::vector<std::string>{"fc.weight", "fc.bias", "bn1.weight", "bn1.bias", "conv1.weight"}));
  EXPECT_EQ(static_cast<std::int64_t>(store.weights().size()), end);
  EXPECT_EQ(ParameterStore::gradient_elements(entries_of(small_network(), StoreLayout::blocked)), end);
}

TEST(ParameterStore, KeepsStatisticsApart) {
  const ParameterStore store(entries_of(small_network(), StoreLayout::plain));

  ASSERT_EQ(store.statistics_slots().size(), 2u);
  EXPECT_EQ(store.statistics_slots()[0].spec.name, "bn1.running_mean");
  EXPECT_EQ(store.statistics().size(), 32u);
  EXPECT_EQ(store.values(store.statistics_slots()[1]).data(), store.statistics().data() + 16);
  EXPECT_THROW((void)store.gradient(store.statistics_slots()[0]), std::logic_error);
}

TEST(ParameterStore, FindsSlotsByName) {
  const ParameterStore store(entries_of(small_network(), StoreLayout::plain));

  EXPECT_EQ(store.find("conv1.weight"), &store.trained_slots().back());
  EXPECT_EQ(store.find("bn1.running_var"), &store.statistics_slots().back());
  EXPECT_EQ(store.find("conv1"), nullptr);
}

TEST(ParameterStore, PutsGradientsIntoTheMemoryItIsGiven) {
  const auto entries = entries_of(small_network(), StoreLayout::plain);
  std::vector<float> window(static_cast<std::size_t>(ParameterStore::gradient_elements(entries)) + 5);

  const ParameterStore store(entries, window);
  store.gradient(store.trained_slots()[1])[0] = 4.0f;

  EXPECT_EQ(store.gradients().size(), store.weights().size());
  EXPECT_EQ(window[static_cast<std::size_t>(store.trained_slots()[1].offset)], 4.0f);
}

TEST(ParameterStore, RefusesTooLittleGradientMemoryAndDoubledNames) {
  auto entries = entries_of(small_network(), StoreLayout::plain);
  std::vector<float> window(static_cast<std::size_t>(ParameterStore::gradient_elements(entries)) - 1);
  EXPECT_THROW(ParameterStore(entries, window), std::logic_error);

  entries.push_back(entries.front());
  EXPECT_THROW(ParameterStore{entries}, std::logic_error);
}

TEST(ParameterStore, StaysWholeWhenMoved) {
  ParameterStore first(entries_of(small_network(), StoreLayout::plain));
  first.weights()[0] = 1.5f;
  first.gradients()[0] = 2.5f;

  const ParameterStore second(std::move(first));

  EXPECT_EQ(second.weights()[0], 1.5f);
  EXPECT_EQ(second.gradients()[0], 2.5f);
}

TEST(ParameterStore, CountsParametersWithoutPaddingOrStatistics) {
  // conv 5·2·9 + bn 2·5 + fc 3·(5·4·4) + 3.
  for (const StoreLayout layout : {StoreLayout::plain, StoreLayout::blocked}) {
    EXPECT_EQ(ParameterStore(entries_of(small_network(), layout)).parameter_count(), 90 + 10 + 240 + 3);
  }
}

TEST(Fingerprint, IsEqualForEqualWeightsInAnyLayoutAndOrder) {
  ParameterStore plain(entries_of(small_network(), StoreLayout::plain));
  ParameterStore blocked(entries_of(small_network(), StoreLayout::blocked));
  auto reversed_entries = entries_of(small_network(), StoreLayout::plain);
  std::reverse(reversed_entries.begin(), reversed_entries.end());
  ParameterStore reversed(reversed_entries);

  for (ParameterStore* store : {&plain, &blocked, &reversed}) initialize(small_network(), 7, *store);

  EXPECT_EQ(blocked.fingerprint(), plain.fingerprint());
  EXPECT_EQ(reversed.fingerprint(), plain.fingerprint());
}

TEST(Fingerprint, HashesLargeTensorsAsIfTheyWereCopiedWhole) {
  // Long and short rows, in numbers that are no multiple of eight: more than one block of rows, and a last one that is cut.
  for (const Shape& shape : {Shape{1503, 1001}, Shape{3, 1 << 20}, Shape{(1 << 20) + 5}, Shape{11, 7, 129, 130}}) {
    ParameterStore store({{{"w", shape, ParameterSpec::Kind::conv_weight}, plain_layout(shape)}});
    const std::vector<float> values = counting(element_count(shape));
    std::copy(values.begin(), values.end(), store.values(store.trained_slots()[0]).begin());

    const std::uint64_t name = hash_bytes(std::as_bytes(std::span(std::string_view("w"))));
    EXPECT_EQ(store.fingerprint(), hash_bytes(std::as_bytes(std::span(values)), name)) << to_text(shape);
  }
}

TEST(Fingerprint, DiffersWhenOneBitOfOneWeightDoes) {
  ParameterStore store(entries_of(small_network(), StoreLayout::blocked));
  initialize(small_network(), 7, store);
  const std::uint64_t before = store.fingerprint();

  for (const Slot& slot : store.trained_slots()) {
    float& value = store.values(slot)[0];
    const float kept = value;
    value = std::nextafter(value, 1e9f);
    EXPECT_NE(store.fingerprint(), before) << slot.spec.name;
    value = kept;
  }
  EXPECT_EQ(store.fingerprint(), before);
}

TEST(Fingerprint, DependsOnWeightsAlone) {
  ParameterStore store(entries_of(small_network(), StoreLayout::plain));
  initialize(small_network(), 7, store);
  const std::uint64_t before = store.fingerprint();

  store.gradients()[0] = 3.0f;
  store.statistics()[0] = 3.0f;
  store.batches_tracked = 9;

  EXPECT_EQ(store.fingerprint(), before);
}

TEST(LayoutDigest, TellsLayoutsAndShapesApart) {
  const ParameterStore plain(entries_of(small_network(), StoreLayout::plain));
  const ParameterStore same(entries_of(small_network(), StoreLayout::plain));
  const ParameterStore blocked(entries_of(small_network(), StoreLayout::blocked));
  const ParameterStore wider(entries_of(small_network(4), StoreLayout::plain));

  EXPECT_EQ(plain.layout_digest(), same.layout_digest());
  EXPECT_NE(plain.layout_digest(), blocked.layout_digest());
  EXPECT_NE(plain.layout_digest(), wider.layout_digest());
}

}  // namespace
}  // namespace dtrain
