// Text from files shows what it is made of and does nothing to terminal or log.
#include <gtest/gtest.h>

#include "trainer/text_table.hpp"
#include "trainer/visible_text.hpp"

namespace dtrain {
namespace {

using namespace std::string_literals;

TEST(VisibleText, IsTheSameWithoutControlCharacters) {
  for (const char* text : {"", "class 1", "Käse/größer.jpg", "日本", "\\x1b", "🙂"}) EXPECT_EQ(visible_text(text), text);
}

TEST(VisibleText, ShowsControlCharactersAsTheirBytes) {
  EXPECT_EQ(visible_text("bad\x1b[31m\r\nerror: forged"), "bad\\x1b[31m\\x0d\\x0aerror: forged");
  EXPECT_EQ(visible_text("a\0b\t\x7f"s), "a\\x00b\\x09\\x7f");
  EXPECT_EQ(visible_text("\u009b2J"), "\\xc2\\x9b2J") << "a terminal's command in one character";
  EXPECT_EQ(visible_text("cat\u202egpj"), "cat\\xe2\\x80\\xaegpj") << "would be written from right to left";
}

TEST(VisibleText, ShowsBytesThatAreNoUtf8) {
  EXPECT_EQ(visible_text("\xff"), "\\xff");
  EXPECT_EQ(visible_text("\xc3"), "\\xc3") << "the end is missing";
  EXPECT_EQ(visible_text("\xc0\x8a"), "\\xc0\\x8a") << "a line break in two bytes";
  EXPECT_EQ(visible_text("\xed\xa0\x80"), "\\xed\\xa0\\x80") << "half of a pair";
  EXPECT_EQ(visible_text("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80") << "beyond the last character";
}

TEST(VisibleText, IsOnceAsTwice) {
  const std::string once = visible_text("a\x1b\n\xff");
  EXPECT_EQ(visible_text(once), once);
}

TEST(VisibleText, IsWhatTablesHave) {
  EXPECT_EQ(table_text({{"class", "top-1"}, {"a\x1b[2J\nb", "1 %"}}), "  class          top-1\n  a\\x1b[2J\\x0ab  1 %\n");
}

TEST(VisibleLines, KeepTheBreaksOfMessagesAlone) {
  EXPECT_EQ(visible_lines("for example\n  a\n  b"), "for example\n  a\n  b");
  EXPECT_EQ(visible_lines("a\nerror: forged\r"), "a\\x0aerror: forged\\x0d");
}

}  // namespace
}  // namespace dtrain
