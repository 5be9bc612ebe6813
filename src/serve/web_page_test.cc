// That the program holds the page as it is in the repository, byte for byte, and that the page needs nothing else.

#include "serve/web_page.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>

namespace phidias::serve {
namespace {

TEST(WebPage, IsTheFileInTheRepository) {
  std::ifstream in(PHIDIAS_SOURCE_DIR "/src/serve/web/dist/index.html", std::ios::binary);
  ASSERT_TRUE(in.good());
  std::ostringstream text;
  text << in.rdbuf();
  EXPECT_TRUE(WebPage() == text.str()) << WebPage().size() << " bytes, the file has " << text.str().size();
}

TEST(WebPage, IsOneDocumentThatLoadsNothing) {
  const std::string page(WebPage());
  EXPECT_TRUE(page.starts_with("<!doctype html>"));
  EXPECT_NE(page.find("Content-Security-Policy\" content=\"default-src 'none';"), std::string::npos);
  const std::string head = page.substr(0, page.find("<style>"));
  EXPECT_EQ(head.find("src="), std::string::npos);
  EXPECT_EQ(head.find("href=\"http"), std::string::npos);
  EXPECT_EQ(head.find("href=\"/"), std::string::npos);
  // An address in a style would be loaded, were it not for the policy.
  const size_t begin = page.find("<style>");
  EXPECT_EQ(page.substr(begin, page.find("</style>") - begin).find("url("), std::string::npos);
}

}  // namespace
}  // namespace phidias::serve
