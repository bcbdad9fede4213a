// Networks of a few layers, each with one way in which values are shared, replaced or summed: the cases that real networks mix.
#pragma once

#include <vector>

#include "dtrain/layers.hpp"
#include "src/models/builder.hpp"

namespace dtrain {

/// Flattens the newest result where it is a picture, and takes its features as the logits.
NetworkSpec finish_with_features(NetworkBuilder net);

NetworkSpec residual_chain();           ///< identity shortcuts: each block's result is read by a convolution and an Add
NetworkSpec downsampling_block();       ///< one value read by two strided convolutions; the Add joins two batch-norms
NetworkSpec three_readers();            ///< a batch-norm's result read by two convolutions and an Add
NetworkSpec five_readers();             ///< a convolution's result read by ReLU, batch-norm, convolution, pool and Add
NetworkSpec readers_behind_pools();     ///< a value read by a max pool, an average pool and a strided shortcut
NetworkSpec doubled_value();            ///< Add whose inputs are the same value
NetworkSpec norm_plus_its_input();      ///< batch-norm whose residual is what it normalises
NetworkSpec sums_without_norm();        ///< Add + ReLU between convolutions with bias
NetworkSpec convolutions_and_linear();  ///< LeNet-like: bias, ReLU, pools, three linear layers
NetworkSpec relus_in_a_row();           ///< element-wise layers that may all run in place
NetworkSpec layers_on_pictures();       ///< the pictures read by a convolution, a batch-norm, a pool and an Add
NetworkSpec dropouts();                 ///< dropout on pictures in blocks of channels and on features
NetworkSpec inception_block();          ///< branches with batch-norm and a pool concatenated; the whole read by six
NetworkSpec fire_blocks();              ///< convolutions with bias and ReLU concatenated; a convolution as the head
NetworkSpec dense_block();              ///< every batch-norm reads all features so far
NetworkSpec inverted_residuals();       ///< depthwise convolutions, ReLUs with a ceiling, sums without ReLU
NetworkSpec auxiliary_heads();          ///< heads on a value that others read and on a Concat, a linear layer and a convolution
NetworkSpec odd_concat();               ///< channels that fill no block; inputs read by others, twice, or pictures

/// All of the above, each with its name.
std::vector<NetworkSpec> small_networks();

}  // namespace dtrain
