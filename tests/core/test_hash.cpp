// The 64-bit hash that files and digests rely on: stable, sensitive, well mixed.
#include <gtest/gtest.h>

#include <bit>
#include <set>
#include <string>
#include <vector>

#include "dtrain/parameters.hpp"
#include "dtrain/random.hpp"

namespace dtrain {
namespace {

std::vector<std::byte> some_bytes(std::size_t count) {
  std::vector<std::byte> bytes(count);
  for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::byte>(mix_bits(i));
  return bytes;
}

/// The definition in src/parameters.cpp, written out byte by byte.
std::uint64_t hash_by_definition(const std::vector<std::byte>& bytes, std::uint64_t seed) {
  std::uint64_t lanes[4] = {0x243f6a8885a308d3ULL, 0x13198a2e03707344ULL, 0xa4093822299f31d0ULL, 0x082efa98ec4e6c89ULL};
  for (std::size_t j = 0; j * 8 < bytes.size(); ++j) {
    std::uint64_t word = 0;
    for (std::size_t b = 0; b < 8 && j * 8 + b < bytes.size(); ++b)
      word |= std::to_integer<std::uint64_t>(bytes[j * 8 + b]) << 8 * b;
    lanes[j % 4] = (lanes[j % 4] ^ word) * 0xd6e8feb86659fd93ULL;
    lanes[j % 4] ^= lanes[j % 4] >> 32;
  }
  std::uint64_t hash = mix_bits(mix_bits(seed) ^ bytes.size());
  for (const std::uint64_t lane : lanes) hash = mix_bits(hash ^ lane);
  return hash;
}

TEST(HashBytes, EqualsItsDefinitionAtEveryLength) {
  for (std::size_t count = 0; count < 140; ++count) {
    const std::vector<std::byte> bytes = some_bytes(count);
    ASSERT_EQ(hash_bytes(bytes, count), hash_by_definition(bytes, count)) << count << " bytes";
  }
}

TEST(HashBytes, KeepsTheValuesThatFilesRelyOn) {
  const std::string text = "The quick brown fox jumps over the lazy dog, twice.";

  EXPECT_EQ(hash_bytes({}), 0xea9f979c41ec6904ULL);
  EXPECT_EQ(hash_bytes(std::as_bytes(std::span(text))), 0xc2918b886765cf83ULL);
  EXPECT_EQ(hash_bytes(std::as_bytes(std::span(text)), 1), 0x7b697de3a1a87b45ULL);
}

TEST(HashBytes, DiffersForEveryFlippedBitAndEveryLength) {
  std::vector<std::byte> bytes = some_bytes(100);
  std::set<std::uint64_t> seen{hash_bytes(bytes)};

  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_TRUE(seen.insert(hash_bytes(bytes)).second) << "bit " << bit;
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
  }
  for (std::size_t count = 0; count < 100; ++count) {
    EXPECT_TRUE(seen.insert(hash_bytes(std::span(bytes).first(count))).second) << count << " bytes";
  }
}

TEST(HashBytes, TellsRunsOfZeroBytesApart) {
  std::set<std::uint64_t> seen;
  for (std::size_t count = 0; count < 200; ++count) {
    EXPECT_TRUE(seen.insert(hash_bytes(std::vector<std::byte>(count))).second) << count;
  }
}

TEST(HashBytes, FlipsHalfOfItsBitsWhenOneInputBitFlips) {
  std::vector<std::byte> bytes = some_bytes(64);
  const std::uint64_t before = hash_bytes(bytes);
  double flipped = 0;

  for (std::size_t bit = 0; bit < 512; ++bit) {
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    flipped += std::popcount(hash_bytes(bytes) ^ before);
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
  }

  // The mean of 512 draws of a binomial(64, ½) has standard deviation 4/√512 = 0.18; five of them.
  EXPECT_NEAR(flipped / 512, 32.0, 0.9);
}

TEST(HashBytes, ChainsThroughItsSeed) {
  const std::vector<std::byte> bytes = some_bytes(40);

  EXPECT_NE(hash_bytes(bytes, 1), hash_bytes(bytes, 2));
  EXPECT_NE(hash_bytes(bytes, hash_bytes(some_bytes(8))), hash_bytes(some_bytes(8), hash_bytes(bytes)));
}

}  // namespace
}  // namespace dtrain
