// Texts and JSON of ensembles; see ensemble_report.hpp.
#include "trainer/ensemble_report.hpp"

#include <cstdio>

#include "trainer/visible_text.hpp"

namespace dtrain {
namespace {

nlohmann::ordered_json scores_json(const EvaluationResult& result) {
  return {{"top1", result.top1()}, {"top5", top5_json(result)}, {"loss", result.loss()}};
}

}  // namespace

nlohmann::ordered_json top5_json(const EvaluationResult& result) {
  return result.has_top5() ? nlohmann::ordered_json(result.top5()) : nlohmann::ordered_json();
}

std::string scores_text(const EvaluationResult& result) {
  char text[128];
  std::snprintf(text, sizeof text, "top-1 %.2f %%  ", 100.0 * result.top1());
  std::string scores = text;
  std::snprintf(text, sizeof text, "top-5 %.2f %%  ", 100.0 * result.top5());
  if (result.has_top5()) scores += text;
  std::snprintf(text, sizeof text, "loss %.4f", result.loss());
  return scores + text;
}

std::string members_text(const std::vector<std::string>& files, const EnsembleResult& result) {
  std::string text;
  if (!result.agreement) return text;
  for (std::size_t k = 0; k < files.size(); ++k)
    text += scores_text(result.members[k]) + "  of " + visible_text(files[k]) + "\n";
  return text;
}

std::string agreement_text(const EnsembleResult& result) {
  if (!result.agreement) return {};
  char text[128];
  std::snprintf(text, sizeof text, "agreement: two members %.2f %%, all %zu members %.2f %%\n", 100.0 * result.agreement->pairs,
                result.members.size(), 100.0 * result.agreement->all);
  return text;
}

void put_ensemble(nlohmann::ordered_json& report, const std::vector<std::string>& files, const EnsembleResult& result) {
  if (!result.agreement) return;
  for (std::size_t k = 0; k < files.size(); ++k) {
    nlohmann::ordered_json member{{"weights", files[k]}};
    member.update(scores_json(result.members[k]));
    report["members"].push_back(member);
  }
  report["ensemble"] = scores_json(result.ensemble);
  report["agreement"] = {{"pairs", result.agreement->pairs}, {"all", result.agreement->all}};
}

}  // namespace dtrain
