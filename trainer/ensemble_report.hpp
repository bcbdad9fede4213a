// What an evaluation of several files of weights says: to people, and in reports.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "trainer/ensemble.hpp"

namespace dtrain {

/// "top-1 77.50 %  top-5 93.40 %  loss 0.9012"; top-5 where it means something.
std::string scores_text(const EvaluationResult& result);

/// Null where it says nothing (has_top5).
nlohmann::ordered_json top5_json(const EvaluationResult& result);

/// Lines: one of each member; and how much they agree. files: as evaluated; nothing where it was one.
std::string members_text(const std::vector<std::string>& files, const EnsembleResult& result);
std::string agreement_text(const EnsembleResult& result);

/// Adds "members", "ensemble" and "agreement" where there were several files.
void put_ensemble(nlohmann::ordered_json& report, const std::vector<std::string>& files, const EnsembleResult& result);

}  // namespace dtrain
