// The loader: worker threads turn samples into floats, batches ahead of the consumer. The unit of work is one sample, so all
// workers help with the batch that is needed next; what a sample becomes depends on its request alone, so worker count and
// timing cannot change a batch.
// Note [A ring of batches]: batch k lives in slot k mod prefetch. `planned` batches have been begun, `delivered` were handed
// out and `released` given back (the consumer holds one from next() to the following next()): released ≤ delivered ≤ planned ≤
// released + prefetch.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "dtrain/data.hpp"
#include "dtrain/error.hpp"

namespace dtrain {
namespace {

constexpr std::size_t kToldMessages = 10;

/// A batch being filled or ready.
struct Slot {
  std::vector<SampleRequest> requests;
  std::unique_ptr<float[]> images;  ///< untouched until a worker writes: its pages belong to whoever writes first
  std::vector<std::int32_t> labels;
  std::int64_t started = 0;   ///< requests taken by workers
  std::int64_t finished = 0;  ///< requests done
  std::int64_t count() const { return static_cast<std::int64_t>(requests.size()); }
  bool is_complete() const { return finished == count(); }
};

/// One sample of a batch that is being filled.
struct WorkItem {
  std::int64_t k = 0;
  std::int64_t position = 0;
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

struct DataLoader::State {
  const Dataset& dataset;
  const LoaderOptions options;
  const BatchSequence sequence;
  const std::int64_t image_elements;

  std::mutex mutex;  ///< guards all below but the pixels and labels of samples being worked on
  std::condition_variable work_appeared;
  std::condition_variable batch_appeared;
  std::vector<Slot> slots;
  std::int64_t planned = 0;  // Note [A ring of batches]
  std::int64_t delivered = 0;
  std::int64_t released = 0;
  bool is_planning = false;  ///< a worker is inside `sequence`
  bool has_ended = false;    ///< `sequence` gave an empty batch
  bool is_stopping = false;
  std::exception_ptr error;
  std::set<std::int64_t> damaged;
  DataFaults faults;

  Batch batch;            ///< the consumer's
  double waited_s = 0.0;  ///< the consumer's
  std::vector<std::jthread> workers;

  State(const Dataset& set, LoaderOptions loader_options, BatchSequence batches)
      : dataset(set),
        options(std::move(loader_options)),
        sequence(std::move(batches)),
        image_elements(options.transform.channels * options.transform.crop * options.transform.crop) {
    check(options.workers >= 1 && options.prefetch_batches >= 2 && options.max_batch >= 1, "loader options are in range");
    check(image_elements >= 1, "pictures have positive extents");
    slots.resize(static_cast<std::size_t>(options.prefetch_batches));
    for (Slot& slot : slots) {
      slot.images = std::make_unique_for_overwrite<float[]>(static_cast<std::size_t>(options.max_batch * image_elements));
      slot.labels.resize(static_cast<std::size_t>(options.max_batch));
    }
    try {
      for (int w = 0; w < options.workers; ++w) workers.emplace_back([this, w] { work(w); });
    } catch (...) {  // the system gives no more threads: those that run must not wait for ever
      stop();
      throw;
    }
  }
  State(const State&) = delete;
  ~State() { stop(); }

  void stop() {
    {
      const std::lock_guard lock(mutex);
      is_stopping = true;
    }
    work_appeared.notify_all();
    workers.clear();  // joins
  }

  Slot& slot_of(std::int64_t k) { return slots[static_cast<std::size_t>(k % options.prefetch_batches)]; }

  // ---- workers ----

  void work(int worker) {
    try {
      if (options.on_worker_start) options.on_worker_start(worker);
      Picture scratch;
      while (const std::optional<WorkItem> item = claim()) {
        load(*item, scratch);
        mark_finished(*item);
      }
    } catch (...) {
      {
        const std::lock_guard lock(mutex);
        if (error == nullptr) error = std::current_exception();
      }
      work_appeared.notify_all();
      batch_appeared.notify_all();
    }
  }

  /// Takes the oldest sample that nobody has begun, opening a further batch when there is none. Nothing: no more work.
  std::optional<WorkItem> claim() {
    std::unique_lock lock(mutex);
    for (;;) {
      if (is_stopping || error != nullptr) return std::nullopt;
      for (std::int64_t k = delivered; k < planned; ++k) {
        Slot& slot = slot_of(k);
        if (slot.started < slot.count()) return WorkItem{k, slot.started++};
      }
      if (has_ended) return std::nullopt;
      if (!is_planning && planned < released + options.prefetch_batches) {
        plan_batch(lock);
      } else {
        work_appeared.wait(lock);
      }
    }
  }

  /// Calls the sequence, unlocked, and opens its batch for work.
  void plan_batch(std::unique_lock<std::mutex>& lock) {
    is_planning = true;
    const std::int64_t k = planned;
    lock.unlock();
    std::vector<SampleRequest> requests = sequence(k);  // when this throws, the error ends all workers: none plans again
    check(static_cast<std::int64_t>(requests.size()) <= options.max_batch, "a batch has at most max_batch samples");
    for (const SampleRequest& request : requests) {
      check(request.sample >= 0 && request.sample < dataset.size(), "a batch asks for samples of the data set");
    }
    lock.lock();
    is_planning = false;
    if (requests.empty()) {
      has_ended = true;
      batch_appeared.notify_all();
    } else {
      Slot& slot = slot_of(k);
      slot.requests = std::move(requests);
      slot.started = slot.finished = 0;
      ++planned;
    }
    work_appeared.notify_all();
  }

  /// Loads one sample; a damaged one is replaced by the next readable sample of the data set, in the same epoch.
  void load(const WorkItem& item, Picture& scratch) {
    Slot& slot = slot_of(item.k);
    const SampleRequest asked = slot.requests[static_cast<std::size_t>(item.position)];
    const std::span<float> dst(slot.images.get() + item.position * image_elements, static_cast<std::size_t>(image_elements));
    for (std::int64_t i = 0; i < dataset.size(); ++i) {
      const SampleRequest request{(asked.sample + i) % dataset.size(), asked.epoch};
      if (is_known_damaged(request.sample)) continue;
      try {
        transform_picture(dataset, request, options.transform, scratch, dst);
        slot.labels[static_cast<std::size_t>(item.position)] = dataset.label(request.sample);
        return;
      } catch (const DataError& damage) {
        mark_damaged(request.sample, damage.what());
      }
    }
    throw_damaged("at least one readable picture", "none among " + std::to_string(dataset.size()));
  }

  bool is_known_damaged(std::int64_t sample) {
    const std::lock_guard lock(mutex);
    return damaged.contains(sample);
  }

  void mark_damaged(std::int64_t sample, const char* message) {
    std::int64_t count = 0;
    {
      const std::lock_guard lock(mutex);
      if (!damaged.insert(sample).second) return;  // two workers met it at the same time
      if (faults.messages.size() < kToldMessages) faults.messages.emplace_back(message);
      count = ++faults.count;
    }
    if (count > options.max_damaged) {
      throw_damaged("at most " + counted(options.max_damaged, "damaged picture"), std::to_string(count) + " so far");
    }
  }

  [[noreturn]] void throw_damaged(const std::string& expected, const std::string& found) {
    std::string examples;
    for (const std::string& message : copy_faults().messages) examples += "\n  " + message;
    throw DataError(Fault{.doing = "loading pictures",
                          .expected = expected,
                          .found = found + ", for example" + examples + "\n",
                          .remedy = "restore these files from their source or delete them, or allow more damaged pictures"});
  }

  void mark_finished(const WorkItem& item) {
    bool is_complete = false;
    {
      const std::lock_guard lock(mutex);
      Slot& slot = slot_of(item.k);
      ++slot.finished;
      is_complete = slot.is_complete();
    }
    if (is_complete) batch_appeared.notify_one();
  }

  // ---- consumer ----

  bool is_answer_ready() {
    if (error != nullptr) return true;
    if (delivered < planned) return slot_of(delivered).is_complete();
    return has_ended;
  }

  const Batch& next() {
    std::unique_lock lock(mutex);
    released = delivered;
    work_appeared.notify_all();
    waited_s = 0.0;
    if (!is_answer_ready()) {
      const auto start = std::chrono::steady_clock::now();
      batch_appeared.wait(lock, [this] { return is_answer_ready(); });
      waited_s = seconds_since(start);
    }
    batch = {};
    if (error != nullptr) std::rethrow_exception(error);
    if (delivered == planned) return batch;
    const Slot& slot = slot_of(delivered++);
    const auto count = static_cast<std::size_t>(slot.count());
    batch.images = {slot.images.get(), count * static_cast<std::size_t>(image_elements)};
    batch.labels = {slot.labels.data(), count};
    batch.count = slot.count();
    return batch;
  }

  DataFaults copy_faults() {
    const std::lock_guard lock(mutex);
    return faults;
  }
};

DataLoader::DataLoader(const Dataset& dataset, LoaderOptions options, BatchSequence sequence)
    : state_(std::make_unique<State>(dataset, std::move(options), std::move(sequence))) {}

DataLoader::~DataLoader() = default;

const Batch& DataLoader::next() { return state_->next(); }

double DataLoader::waited_s() const { return state_->waited_s; }

DataFaults DataLoader::faults() const { return state_->copy_faults(); }

}  // namespace dtrain
