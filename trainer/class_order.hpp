// The order of classes: a remark where it is not what people expect, and samples with the labels of another order.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dtrain/data.hpp"

namespace dtrain {

/// A remark for numbered classes that do not stand in the order of their numbers, for byte order puts 10 before 2; else empty.
/// Numbers may follow a common beginning (class_2, class_10).
std::string number_order_remark(const std::vector<std::string>& classes);

/// The same samples with the labels of another list of classes.
/// places  the new label of each old one, in [0, classes.size()).
std::unique_ptr<Dataset> relabelled(std::unique_ptr<Dataset> dataset, std::vector<std::string> classes,
                                    std::vector<std::int32_t> places);

}  // namespace dtrain
