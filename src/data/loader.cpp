// The loader: worker threads turn samples into floats, batches ahead of the consumer. The unit of work is one sample, so all
// workers help with the batch that is needed next; what a sample becomes depends on its request alone, so worker count and
// timing cannot change a batch.
// Note [A ring of batches]: batch k lives in slot k mod prefetch. `planned` batches have been begun, `delivered` were handed
// out and `released` given back (the consumer holds one from next() to the following next()): released ≤ delivered ≤ planned ≤
// released + prefetch.
// Note [Damage counts when its batch is delivered]: workers are ahead of the consumer by as much as timing allows. A slot
// therefore lists the damaged samples that its own requests led to, those that were known already among them; they are counted
// when the slot is delivered. So what has been counted after k batches is a function of their requests.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <map>
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
constexpr std::int64_t kNothing = -1;
constexpr double kPatience_s = 10.0;  ///< with workers, at the end

using Clock = std::chrono::steady_clock;

/// A batch being filled or ready.
struct Slot {
  std::vector<SampleRequest> requests;
  std::unique_ptr<float[]> images;  ///< untouched until a worker writes: its pages belong to whoever writes first
  std::vector<std::int32_t> labels;
  std::vector<std::int64_t> shown;  ///< sample at each position; kNothing: none
  std::set<std::int64_t> damaged;   ///< met by these requests
  std::int64_t started = 0;         ///< requests taken by workers
  std::int64_t finished = 0;        ///< requests done
  std::int64_t count() const { return static_cast<std::int64_t>(requests.size()); }
  bool is_complete() const { return finished == count(); }
};

/// One sample of a batch that is being filled.
struct WorkItem {
  std::int64_t k = 0;
  std::int64_t position = 0;
};

/// What a worker is loading.
struct InWork {
  std::int64_t k = kNothing;  ///< batch; kNothing: it has no work
  std::int64_t sample = 0;
  Clock::time_point since;
};

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

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
  std::ptrdiff_t left = 0;                      ///< workers that have ended
  bool is_left_behind = false;                  ///< the last of them deletes this
  std::vector<InWork> in_work;                  ///< of each worker
  std::map<std::int64_t, std::string> damaged;  ///< known to workers, with what is wrong
  std::set<std::int64_t> delivered_damage;      ///< Note [Damage counts when its batch is delivered]
  DataFaults faults;

  // The consumer's.
  Batch batch;
  std::vector<DamagedSample> newly_damaged;  ///< of `batch`
  double waited_s = 0.0;
  bool is_abandoned = false;
  double waited_before_s = 0.0;  ///< in is_ready(), since the last next()
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
      slot.shown.resize(static_cast<std::size_t>(options.max_batch));
    }
    in_work.resize(static_cast<std::size_t>(options.workers));
    try {
      for (int w = 0; w < options.workers; ++w) {
        workers.emplace_back([this, w] {
          work(w);
          leave();
        });
      }
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

  /// Of a worker, its last act: whoever is last of those that were left behind takes all of this along.
  void leave() {
    std::unique_lock lock(mutex);
    ++left;
    const bool is_last = is_left_behind && left == std::ssize(workers);
    lock.unlock();
    if (is_last) delete this;
  }

  /// The workers are on their own. Result: some still work, and this is theirs; else it is the caller's.
  bool leave_behind() {
    const std::lock_guard lock(mutex);
    if (left == std::ssize(workers)) return false;
    for (std::jthread& worker : workers) worker.detach();
    is_left_behind = true;
    return true;
  }

  /// Result: no worker is still with a sample.
  bool come_to_rest_within(double seconds) {
    std::unique_lock lock(mutex);
    is_stopping = true;
    work_appeared.notify_all();
    return batch_appeared.wait_for(lock, std::chrono::duration<double>(seconds), [this] {
      return std::all_of(in_work.begin(), in_work.end(), [](const InWork& one) { return one.k == kNothing; });
    });
  }

  Slot& slot_of(std::int64_t k) { return slots[static_cast<std::size_t>(k % options.prefetch_batches)]; }

  // ---- workers ----

  void work(int worker) {
    try {
      if (options.on_worker_start) options.on_worker_start(worker);
      Picture scratch;
      while (const std::optional<WorkItem> item = claim(worker)) {
        load(worker, *item, scratch);
        mark_finished(worker, *item);
      }
    } catch (...) {
      {
        const std::lock_guard lock(mutex);
        in_work[static_cast<std::size_t>(worker)].k = kNothing;
        if (error == nullptr) error = std::current_exception();
      }
      work_appeared.notify_all();
      batch_appeared.notify_all();
    }
  }

  /// Takes the oldest sample that nobody has begun, opening a further batch when there is none. Nothing: no more work.
  std::optional<WorkItem> claim(int worker) {
    std::unique_lock lock(mutex);
    for (;;) {
      if (is_stopping || error != nullptr) return std::nullopt;
      for (std::int64_t k = delivered; k < planned; ++k) {
        Slot& slot = slot_of(k);
        if (slot.started == slot.count()) continue;
        const WorkItem item{k, slot.started++};
        begin(worker, k, slot.requests[static_cast<std::size_t>(item.position)].sample);
        return item;
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
      slot.damaged.clear();
      ++planned;
    }
    work_appeared.notify_all();
  }

  /// Loads one sample. A damaged one is replaced by the next readable sample of the data set, in the same epoch, or left out.
  void load(int worker, const WorkItem& item, Picture& scratch) {
    Slot& slot = slot_of(item.k);
    const auto position = static_cast<std::size_t>(item.position);
    const SampleRequest asked = slot.requests[position];
    const std::span<float> dst(slot.images.get() + item.position * image_elements, static_cast<std::size_t>(image_elements));
    const bool replaces = options.on_damage == OnDamage::replace;
    slot.shown[position] = kNothing;
    // More than are allowed one after the other end the run when the batch is delivered: nobody will look at it.
    const std::int64_t candidates = !replaces                              ? 1
                                    : options.max_damaged < dataset.size() ? options.max_damaged + 1
                                                                           : dataset.size();
    for (std::int64_t i = 0; i < candidates; ++i) {
      const SampleRequest request{(asked.sample + i) % dataset.size(), asked.epoch};
      if (!begin_sample(worker, item.k, request.sample)) continue;
      try {
        transform_picture(dataset, request, options.transform, scratch, dst);
        slot.labels[position] = dataset.label(request.sample);
        slot.shown[position] = request.sample;
        return;
      } catch (const DataError& damage) {
        mark_damaged(item.k, request.sample, damage.what());
      }
    }
    if (replaces && candidates == dataset.size()) {
      throw_damaged("at least one readable picture", "none among " + std::to_string(dataset.size()), known_examples());
    }
  }

  /// Under the lock.
  void begin(int worker, std::int64_t k, std::int64_t sample) {
    in_work[static_cast<std::size_t>(worker)] = {.k = k, .sample = sample, .since = Clock::now()};
  }

  /// Result: whether the sample is to be tried; it is known to be damaged otherwise.
  bool begin_sample(int worker, std::int64_t k, std::int64_t sample) {
    const std::lock_guard lock(mutex);
    begin(worker, k, sample);
    if (!damaged.contains(sample)) return true;
    slot_of(k).damaged.insert(sample);
    return false;
  }

  void mark_damaged(std::int64_t k, std::int64_t sample, const char* message) {
    const std::lock_guard lock(mutex);
    slot_of(k).damaged.insert(sample);
    damaged.emplace(sample, message);  // unless another worker met it at the same time
  }

  std::vector<std::string> known_examples() {
    const std::lock_guard lock(mutex);
    std::vector<std::string> examples;
    for (const auto& [sample, message] : damaged) {
      if (examples.size() < kToldMessages) examples.push_back(message);
    }
    return examples;
  }

  [[noreturn]] static void throw_damaged(const std::string& expected, const std::string& found,
                                         const std::vector<std::string>& messages) {
    std::string examples;
    for (const std::string& message : messages) examples += "\n  " + message;
    throw DataError(Fault{.doing = "loading pictures",
                          .expected = expected,
                          .found = found + ", for example" + examples + "\n",
                          .remedy = "restore these files from their source or delete them, or allow more damaged pictures "
                                    "(--max-damaged)"});
  }

  void mark_finished(int worker, const WorkItem& item) {
    bool is_complete = false;
    {
      const std::lock_guard lock(mutex);
      in_work[static_cast<std::size_t>(worker)].k = kNothing;
      Slot& slot = slot_of(item.k);
      ++slot.finished;
      is_complete = slot.is_complete() || is_stopping;
    }
    if (is_complete) batch_appeared.notify_one();
  }

  // ---- consumer ----

  bool is_answer_ready() {
    if (error != nullptr) return true;
    if (delivered < planned) return slot_of(delivered).is_complete();
    return has_ended;
  }

  void release(std::int64_t batches) {
    released = batches;
    work_appeared.notify_all();
  }

  bool is_ready(double limit_s) {
    std::unique_lock lock(mutex);
    release(delivered);
    if (is_answer_ready()) return true;
    const auto start = Clock::now();
    const bool has_come =
        batch_appeared.wait_for(lock, std::chrono::duration<double>(limit_s), [this] { return is_answer_ready(); });
    waited_before_s += seconds_since(start);
    return has_come;
  }

  const Batch& next() {
    std::unique_lock lock(mutex);
    waited_s = std::exchange(waited_before_s, 0.0);
    batch = {};
    newly_damaged.clear();
    do {
      release(delivered);
      if (!is_answer_ready()) {
        const auto start = Clock::now();
        batch_appeared.wait(lock, [this] { return is_answer_ready(); });
        waited_s += seconds_since(start);
      }
      if (error != nullptr) std::rethrow_exception(error);
      if (delivered == planned) break;
      deliver(slot_of(delivered));
      ++delivered;
    } while (batch.count == 0);
    batch.damaged = newly_damaged;
    return batch;
  }

  void deliver(Slot& slot) {
    count_damaged(slot);
    const std::int64_t count = close_gaps(slot);
    const auto size = static_cast<std::size_t>(count);
    batch.images = {slot.images.get(), size * static_cast<std::size_t>(image_elements)};
    batch.labels = {slot.labels.data(), size};
    batch.samples = {slot.shown.data(), size};
    batch.count = count;
  }

  void count_damaged(const Slot& slot) {
    for (const std::int64_t sample : slot.damaged) {
      if (!delivered_damage.insert(sample).second) continue;
      newly_damaged.push_back({.sample = sample, .message = damaged.at(sample)});
      if (faults.messages.size() < kToldMessages) faults.messages.push_back(newly_damaged.back().message);
      ++faults.count;
    }
    if (faults.count <= options.max_damaged) return;
    try {
      throw_damaged("at most " + counted(options.max_damaged, "damaged image"), std::to_string(faults.count) + " so far",
                    faults.messages);
    } catch (...) {
      error = std::current_exception();
      throw;
    }
  }

  /// Moves the images behind those left out forward. Result: images that are there.
  std::int64_t close_gaps(Slot& slot) const {
    if (slot.damaged.empty()) return slot.count();
    std::int64_t kept = 0;
    for (std::int64_t position = 0; position < slot.count(); ++position) {
      const auto from = static_cast<std::size_t>(position);
      if (slot.shown[from] == kNothing) continue;
      const auto to = static_cast<std::size_t>(kept++);
      if (to == from) continue;
      std::copy_n(slot.images.get() + position * image_elements, image_elements,
                  slot.images.get() + static_cast<std::int64_t>(to) * image_elements);
      slot.labels[to] = slot.labels[from];
      slot.shown[to] = slot.shown[from];
    }
    return kept;
  }

  LateSample late_sample() {
    const std::lock_guard lock(mutex);
    const InWork* late = nullptr;
    for (const InWork& one : in_work) {
      if (one.k == delivered && (late == nullptr || one.since < late->since)) late = &one;
    }
    if (late == nullptr) return {};
    return {.sample = late->sample, .name = dataset.sample_name(late->sample), .in_work_s = seconds_since(late->since)};
  }

  DataFaults copy_faults() {
    const std::lock_guard lock(mutex);
    return faults;
  }
};

DataLoader::DataLoader(const Dataset& dataset, LoaderOptions options, BatchSequence sequence)
    : state_(std::make_unique<State>(dataset, std::move(options), std::move(sequence))) {}

DataLoader::~DataLoader() {
  if (state_->come_to_rest_within(state_->is_abandoned ? 0.0 : kPatience_s)) return;
  if (state_->leave_behind()) static_cast<void>(state_.release());
}

const Batch& DataLoader::next() { return state_->next(); }

bool DataLoader::is_ready(double limit_s) { return state_->is_ready(limit_s); }

LateSample DataLoader::late_sample() const { return state_->late_sample(); }

void DataLoader::abandon() { state_->is_abandoned = true; }

double DataLoader::waited_s() const { return state_->waited_s; }

DataFaults DataLoader::faults() const { return state_->copy_faults(); }

}  // namespace dtrain
