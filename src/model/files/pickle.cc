#include "model/files/pickle.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>
#include <utility>

#include "model/files/little_endian.h"
#include "model/files/pickle_opcodes.h"
#include "model/files/pickle_torch.h"
#include "model/files/tensor_store.h"

namespace phidias {
namespace {

// An honest tensor takes about 30 values, so this many are enough for kMaxTensors.
constexpr size_t kMaxValues = size_t{1} << 21;
constexpr size_t kMaxStack = size_t{1} << 20;
constexpr size_t kMaxGlobalNameBytes = 256;

constexpr std::string_view kPolicy =
    "; only tensors and dicts are read, nothing is executed. If you trust the file, load it in PyTorch and save the "
    "bare "
    "weights: torch.save(model.state_dict(), ...)";

class Machine {
 public:
  explicit Machine(std::span<const std::byte> bytes) : bytes_(bytes) {}

  Result<Pickle> Run() {
    if (bytes_.size() < 2 || static_cast<uint8_t>(bytes_[0]) != kOpProto) {
      return DataError("pickle doesn't begin with its protocol's number; torch.save writes protocol 2 or later");
    }
    while (!stopped_) {
      op_at_ = at_;
      uint8_t op = 0;
      RETURN_IF_ERROR(Take(&op));
      RETURN_IF_ERROR(Execute(op));
    }
    return std::move(out_);
  }

 private:
  // --- Errors and input ---

  template <class... Parts>
  Status Broken(const Parts&... parts) const {
    return DataError("pickle is broken at byte ", op_at_, ": ", parts...);
  }
  // A failure of pickle_torch.h, told with its place.
  Status AtByte(const Status& status) const { return status.ok() ? status : Broken(status.message()); }
  template <class... Parts>
  Status Refused(const Parts&... parts) const {
    return Unsupported("pickle ", parts..., kPolicy);
  }

  template <class T>
  Status Take(T* value) {
    if (sizeof(T) > bytes_.size() - at_) {
      return Broken("it is cut off");
    }
    *value = LoadLittleEndian<T>(bytes_, at_);
    at_ += sizeof(T);
    return {};
  }

  Status TakeText(uint64_t size, std::string_view* text) {
    if (size > bytes_.size() - at_) {
      return Broken("it is cut off, or a string of ", size, " bytes is a lie");
    }
    *text = {reinterpret_cast<const char*>(bytes_.data()) + at_, static_cast<size_t>(size)};
    at_ += static_cast<size_t>(size);
    return {};
  }

  // Up to the line's end, which is consumed but not returned.
  Status TakeLine(std::string_view* line) {
    const char* begin = reinterpret_cast<const char*>(bytes_.data()) + at_;
    const size_t most = std::min(bytes_.size() - at_, kMaxGlobalNameBytes + 1);
    const void* end = most == 0 ? nullptr : std::memchr(begin, '\n', most);
    if (end == nullptr) {
      return Broken("a name is cut off or longer than ", kMaxGlobalNameBytes, " bytes");
    }
    *line = {begin, static_cast<size_t>(static_cast<const char*>(end) - begin)};
    at_ += line->size() + 1;
    return {};
  }

  // --- Stack ---

  // Values above the innermost mark; those below are out of reach.
  size_t Reachable() const { return stack_.size() - (marks_.empty() ? 0 : marks_.back()); }

  Status Push(PickleId id) {
    if (stack_.size() >= kMaxStack) {
      return Broken("more than ", kMaxStack, " values on its stack");
    }
    stack_.push_back(id);
    return {};
  }

  Status Pop(PickleId* id) {
    if (Reachable() == 0) {
      return Broken("its stack runs empty");
    }
    *id = stack_.back();
    stack_.pop_back();
    return {};
  }

  // The values above the innermost mark, and the mark itself.
  Status PopToMark(std::vector<PickleId>* items) {
    if (marks_.empty()) {
      return Broken("a mark is missing on its stack");
    }
    items->assign(stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back()), stack_.end());
    stack_.resize(marks_.back());
    marks_.pop_back();
    return {};
  }

  Status PushNew(PickleValue value) {
    if (out_.values.size() >= kMaxValues) {
      return Broken("more than ", kMaxValues, " values");
    }
    out_.values.push_back(std::move(value));
    return Push(static_cast<PickleId>(out_.values.size() - 1));
  }

  const PickleValue& At(PickleId id) const { return out_.values[id]; }

  // --- Opcodes, group by group; a group answers none for an opcode that isn't its own ---

  Status Execute(uint8_t op) {
    for (const auto group : {&Machine::Scalars, &Machine::Texts, &Machine::Containers, &Machine::StackAndMemo,
                             &Machine::Objects, &Machine::Framing}) {
      if (std::optional<Status> status = (this->*group)(op)) {
        return *std::move(status);
      }
    }
    return Unknown(op);
  }

  Status Unknown(uint8_t op) const {
    switch (op) {
      case kOpFloatText:
      case kOpIntText:
      case kOpLongText:
      case kOpPersIdText:
      case kOpStringText:
      case kOpUnicodeText:
      case kOpGetText:
      case kOpPutText:
        return Unsupported("pickle uses opcode '", static_cast<char>(op), "' of protocol 0 at byte ", op_at_,
                           "; save the file again with torch.save of PyTorch 1.6 or later");
      case kOpEmptySet:
      case kOpAddItems:
      case kOpFrozenSet: return Refused("holds a set (byte ", op_at_, ")");
      case kOpByteArray8:
      case kOpNextBuffer:
      case kOpReadOnlyBuffer: return Refused("holds a byte array or an out-of-band buffer (byte ", op_at_, ")");
      default: return Broken("there is no opcode ", static_cast<int>(op));
    }
  }

  std::optional<Status> Scalars(uint8_t op) {
    switch (op) {
      case kOpNone: return PushNew({});
      case kOpNewTrue: return PushNew({.kind = PickleKind::kBool, .integer = 1});
      case kOpNewFalse: return PushNew({.kind = PickleKind::kBool, .integer = 0});
      case kOpBinInt: return Integer<int32_t>();
      case kOpBinInt1: return Integer<uint8_t>();
      case kOpBinInt2: return Integer<uint16_t>();
      case kOpLong1: return Long<uint8_t>();
      case kOpLong4: return Long<int32_t>();
      case kOpBinFloat: return Float();
      default: return std::nullopt;
    }
  }

  template <class T>
  Status Integer() {
    T value = 0;
    RETURN_IF_ERROR(Take(&value));
    return PushNew({.kind = PickleKind::kInt, .integer = value});
  }

  // Two's complement of any length, of which 64 bits are believed.
  template <class SizeT>
  Status Long() {
    SizeT size = 0;
    RETURN_IF_ERROR(Take(&size));
    if (size < 0 || static_cast<uint64_t>(size) > sizeof(int64_t)) {
      return Broken("an integer of ", static_cast<int64_t>(size), " bytes; at most 8 are possible");
    }
    std::string_view digits;
    RETURN_IF_ERROR(TakeText(static_cast<uint64_t>(size), &digits));
    uint64_t value = 0;
    for (size_t i = 0; i < digits.size(); ++i) {
      value |= uint64_t{static_cast<uint8_t>(digits[i])} << (8 * i);
    }
    const bool negative = !digits.empty() && (static_cast<uint8_t>(digits.back()) & 0x80) != 0;
    if (negative && digits.size() < sizeof value) {
      value |= ~uint64_t{0} << (8 * digits.size());
    }
    return PushNew({.kind = PickleKind::kInt, .integer = static_cast<int64_t>(value)});
  }

  // The one number that pickle stores big-endian.
  Status Float() {
    uint64_t bits = 0;
    RETURN_IF_ERROR(Take(&bits));
    return PushNew({.kind = PickleKind::kFloat, .number = std::bit_cast<double>(__builtin_bswap64(bits))});
  }

  std::optional<Status> Texts(uint8_t op) {
    switch (op) {
      case kOpShortBinString:
      case kOpShortBinUnicode: return Text<uint8_t>(PickleKind::kString);
      case kOpBinString:
      case kOpBinUnicode: return Text<uint32_t>(PickleKind::kString);
      case kOpBinUnicode8: return Text<uint64_t>(PickleKind::kString);
      case kOpShortBinBytes: return Text<uint8_t>(PickleKind::kBytes);
      case kOpBinBytes: return Text<uint32_t>(PickleKind::kBytes);
      case kOpBinBytes8: return Text<uint64_t>(PickleKind::kBytes);
      default: return std::nullopt;
    }
  }

  template <class SizeT>
  Status Text(PickleKind kind) {
    SizeT size = 0;
    std::string_view text;
    RETURN_IF_ERROR(Take(&size));
    RETURN_IF_ERROR(TakeText(size, &text));
    return PushNew({.kind = kind, .text = text});
  }

  std::optional<Status> Containers(uint8_t op) {
    switch (op) {
      case kOpEmptyTuple: return PushNew({.kind = PickleKind::kTuple});
      case kOpEmptyList: return PushNew({.kind = PickleKind::kList});
      case kOpEmptyDict: return PushNew({.kind = PickleKind::kDict});
      case kOpTuple1: return ShortTuple(1);
      case kOpTuple2: return ShortTuple(2);
      case kOpTuple3: return ShortTuple(3);
      case kOpTuple: return FromMark(PickleKind::kTuple);
      case kOpList: return FromMark(PickleKind::kList);
      case kOpDict: return FromMark(PickleKind::kDict);
      case kOpAppend: return Extend(PickleKind::kList, 1);
      case kOpSetItem: return Extend(PickleKind::kDict, 2);
      case kOpAppends: return ExtendFromMark(PickleKind::kList);
      case kOpSetItems: return ExtendFromMark(PickleKind::kDict);
      default: return std::nullopt;
    }
  }

  // Pops `count` values, the last one first.
  Status PopMany(size_t count, std::vector<PickleId>* items) {
    items->resize(count);
    for (size_t i = count; i-- > 0;) {
      RETURN_IF_ERROR(Pop(&(*items)[i]));
    }
    return {};
  }

  Status ShortTuple(size_t count) {
    std::vector<PickleId> items;
    RETURN_IF_ERROR(PopMany(count, &items));
    return PushNew({.kind = PickleKind::kTuple, .items = std::move(items)});
  }

  Status FromMark(PickleKind kind) {
    std::vector<PickleId> items;
    RETURN_IF_ERROR(PopToMark(&items));
    if (kind == PickleKind::kDict) {
      RETURN_IF_ERROR(CheckPairs(items));
    }
    return PushNew({.kind = kind, .items = std::move(items)});
  }

  Status Extend(PickleKind kind, size_t count) {
    std::vector<PickleId> items;
    RETURN_IF_ERROR(PopMany(count, &items));
    return ExtendTop(kind, items);
  }

  Status ExtendFromMark(PickleKind kind) {
    std::vector<PickleId> items;
    RETURN_IF_ERROR(PopToMark(&items));
    return ExtendTop(kind, items);
  }

  // Puts `items` into the container on top of the stack, which stays there.
  Status ExtendTop(PickleKind kind, const std::vector<PickleId>& items) {
    if (Reachable() == 0) {
      return Broken("its stack runs empty");
    }
    PickleValue& container = out_.values[stack_.back()];
    if (container.kind != kind) {
      return Broken("it puts items into ", PickleKindName(container.kind), " as if it were ", PickleKindName(kind));
    }
    if (kind == PickleKind::kDict) {
      RETURN_IF_ERROR(CheckPairs(items));
    }
    container.items.insert(container.items.end(), items.begin(), items.end());
    return {};
  }

  Status CheckPairs(const std::vector<PickleId>& items) const {
    if (items.size() % 2 != 0) {
      return Broken("a dict's key has no value");
    }
    for (size_t i = 0; i < items.size(); i += 2) {
      const PickleKind kind = At(items[i]).kind;
      if (kind > PickleKind::kBytes) {
        return Broken("a dict's key is ", PickleKindName(kind), "; keys are strings or numbers");
      }
    }
    return {};
  }

  std::optional<Status> StackAndMemo(uint8_t op) {
    switch (op) {
      case kOpMark: return Mark();
      case kOpPop: return PopOrUnmark();
      case kOpPopMark: {
        std::vector<PickleId> dropped;
        return PopToMark(&dropped);
      }
      case kOpDup: return Reachable() == 0 ? Broken("its stack runs empty") : Push(stack_.back());
      case kOpBinPut: return Put<uint8_t>();
      case kOpLongBinPut: return Put<uint32_t>();
      case kOpMemoize: return PutAt(static_cast<uint32_t>(memo_.size()));
      case kOpBinGet: return Get<uint8_t>();
      case kOpLongBinGet: return Get<uint32_t>();
      default: return std::nullopt;
    }
  }

  Status Mark() {
    if (marks_.size() >= kMaxStack) {
      return Broken("more than ", kMaxStack, " marks on its stack");
    }
    marks_.push_back(stack_.size());
    return {};
  }

  Status PopOrUnmark() {
    if (Reachable() == 0 && !marks_.empty()) {
      marks_.pop_back();
      return {};
    }
    PickleId dropped = 0;
    return Pop(&dropped);
  }

  template <class T>
  Status Put() {
    T place = 0;
    RETURN_IF_ERROR(Take(&place));
    return PutAt(place);
  }

  Status PutAt(uint32_t place) {
    if (Reachable() == 0) {
      return Broken("its stack runs empty");
    }
    if (memo_.size() >= kMaxValues) {
      return Broken("more than ", kMaxValues, " values in its memo");
    }
    memo_[place] = stack_.back();
    return {};
  }

  template <class T>
  Status Get() {
    T place = 0;
    RETURN_IF_ERROR(Take(&place));
    const auto found = memo_.find(place);
    return found == memo_.end() ? Broken("nothing in its memo at place ", uint32_t{place}) : Push(found->second);
  }

  std::optional<Status> Framing(uint8_t op) {
    switch (op) {
      case kOpProto: return Protocol();
      case kOpFrame: return Frame();
      case kOpStop: return Stop();
      default: return std::nullopt;
    }
  }

  Status Protocol() {
    uint8_t protocol = 0;
    RETURN_IF_ERROR(Take(&protocol));
    if (protocol < 2 || protocol > 5) {
      return Unsupported("pickle has protocol ", int{protocol}, "; 2 to 5 are read");
    }
    return {};
  }

  // A frame only tells the reader how much to fetch at once.
  Status Frame() {
    uint64_t size = 0;
    RETURN_IF_ERROR(Take(&size));
    return size > bytes_.size() - at_ ? Broken("it is cut off inside a frame of ", size, " bytes") : Status();
  }

  Status Stop() {
    if (stack_.size() != 1 || !marks_.empty()) {
      return Broken("it ends with ", stack_.size(), " values on its stack instead of one");
    }
    if (at_ != bytes_.size()) {
      return Broken("it ends ", bytes_.size() - at_, " bytes before the end of its entry");
    }
    out_.root = stack_.back();
    stopped_ = true;
    return {};
  }

  // --- What in Python could run code ---

  std::optional<Status> Objects(uint8_t op) {
    switch (op) {
      case kOpGlobal: return Global();
      case kOpStackGlobal: return StackGlobal();
      case kOpReduce: return Reduce();
      case kOpNewObj: return NewObj();
      case kOpBuild: return Build();
      case kOpBinPersId: return PersistentId();
      case kOpInst: return Inst();
      case kOpObj: return Refused("wants to construct an object (opcode OBJ at byte ", op_at_, ")");
      case kOpNewObjEx: return Refused("wants to construct an object (opcode NEWOBJ_EX at byte ", op_at_, ")");
      case kOpExt1:
      case kOpExt2:
      case kOpExt4: return Refused("wants to call a registered extension (opcode EXT at byte ", op_at_, ")");
      default: return std::nullopt;
    }
  }

  Status TakeName(std::string_view* module, std::string_view* name) {
    RETURN_IF_ERROR(TakeLine(module));
    return TakeLine(name);
  }

  Status Global() {
    std::string_view module;
    std::string_view name;
    RETURN_IF_ERROR(TakeName(&module, &name));
    return PushGlobal(module, name);
  }

  Status Inst() {
    std::string_view module;
    std::string_view name;
    RETURN_IF_ERROR(TakeName(&module, &name));
    return RefusedCall(module, name);
  }

  Status StackGlobal() {
    std::vector<PickleId> names;
    RETURN_IF_ERROR(PopMany(2, &names));
    if (At(names[0]).kind != PickleKind::kString || At(names[1]).kind != PickleKind::kString) {
      return Broken("a name is ", PickleKindName(At(names[0]).kind), " and ", PickleKindName(At(names[1]).kind),
                    " instead of two strings");
    }
    return PushGlobal(At(names[0]).text, At(names[1]).text);
  }

  Status PushGlobal(std::string_view module, std::string_view name) {
    const int place = FindKnownGlobal(module, name);
    return place >= 0 ? PushNew({.kind = PickleKind::kGlobal, .integer = place}) : RefusedCall(module, name);
  }

  Status RefusedCall(std::string_view module, std::string_view name) const {
    const std::string full = StrCat(module.substr(0, kMaxGlobalNameBytes), ".", name.substr(0, kMaxGlobalNameBytes));
    return Refused("wants to call ", Quoted(full));
  }

  Status PopCall(const KnownGlobal** callee, PickleId* arguments) {
    PickleId function = 0;
    RETURN_IF_ERROR(Pop(arguments));
    RETURN_IF_ERROR(Pop(&function));
    *callee = AsGlobal(out_, function);
    if (*callee == nullptr) {
      return Refused("wants to call ", PickleKindName(At(function).kind), " (byte ", op_at_, ")");
    }
    if (At(*arguments).kind != PickleKind::kTuple) {
      return Broken("the arguments for ", (*callee)->module, ".", (*callee)->name, " are ",
                    PickleKindName(At(*arguments).kind), " instead of a tuple");
    }
    return {};
  }

  Status Reduce() {
    const KnownGlobal* callee = nullptr;
    PickleId arguments = 0;
    RETURN_IF_ERROR(PopCall(&callee, &arguments));
    switch (callee->role) {
      case PickleRole::kRebuildTensor:
      case PickleRole::kRebuildTensorV3: return RebuildTensor(*callee, arguments);
      case PickleRole::kRebuildParameter: return RebuildParameter(arguments);
      case PickleRole::kOrderedDict: return NewOrderedDict(At(arguments).items);
      case PickleRole::kStorageClass:
      case PickleRole::kUntypedStorage:
      case PickleRole::kDType: break;
    }
    return RefusedCall(callee->module, callee->name);
  }

  Status NewObj() {
    const KnownGlobal* callee = nullptr;
    PickleId arguments = 0;
    RETURN_IF_ERROR(PopCall(&callee, &arguments));
    return callee->role == PickleRole::kOrderedDict ? NewOrderedDict(At(arguments).items)
                                                    : RefusedCall(callee->module, callee->name);
  }

  Status NewOrderedDict(const std::vector<PickleId>& arguments) {
    if (!arguments.empty()) {
      return Refused("makes a collections.OrderedDict from arguments (byte ", op_at_, ")");
    }
    return PushNew({.kind = PickleKind::kDict, .ordered = true});
  }

  // An OrderedDict's attributes: a module's state dict has `_metadata`, which says nothing about weights.
  Status Build() {
    PickleId state = 0;
    RETURN_IF_ERROR(Pop(&state));
    if (Reachable() == 0) {
      return Broken("its stack runs empty");
    }
    const PickleValue& object = At(stack_.back());
    if (!object.ordered || At(state).kind != PickleKind::kDict) {
      return Refused("wants to set the state of ", PickleKindName(object.kind), " (byte ", op_at_, ")");
    }
    return {};
  }

  // A persistent id stands for something outside the pickle: here, a storage.
  Status PersistentId() {
    PickleId id = 0;
    RETURN_IF_ERROR(Pop(&id));
    PickleStorage storage;
    RETURN_IF_ERROR(AtByte(MakeStorage(out_, id, &storage)));
    out_.storages.push_back(storage);
    return PushNew({.kind = PickleKind::kStorage, .integer = static_cast<int64_t>(out_.storages.size() - 1)});
  }

  Status RebuildTensor(const KnownGlobal& callee, PickleId arguments) {
    if (out_.tensors.size() >= kMaxTensors) {
      return Broken("more than ", kMaxTensors, " tensors");
    }
    PickleTensor tensor;
    RETURN_IF_ERROR(AtByte(MakeTensor(out_, callee, arguments, &tensor)));
    out_.tensors.push_back(std::move(tensor));
    return PushNew({.kind = PickleKind::kTensor, .integer = static_cast<int64_t>(out_.tensors.size() - 1)});
  }

  // (tensor, requires_grad, hooks): for us, the tensor itself.
  Status RebuildParameter(PickleId arguments) {
    const std::vector<PickleId>& items = At(arguments).items;
    if (items.size() != 3 || At(items[0]).kind != PickleKind::kTensor) {
      return Broken("the arguments for torch._utils._rebuild_parameter are not as torch.save writes them");
    }
    return Push(items[0]);
  }

  std::span<const std::byte> bytes_;
  size_t at_ = 0;
  size_t op_at_ = 0;  // where the current opcode stands, for messages
  bool stopped_ = false;
  std::vector<PickleId> stack_;
  std::vector<size_t> marks_;          // heights of stack_, not descending
  std::map<uint32_t, PickleId> memo_;  // ordered: a hash table could be flooded
  Pickle out_;
};

}  // namespace

Result<Pickle> ReadPickle(std::span<const std::byte> bytes) {
  return Machine(bytes).Run();
}

}  // namespace phidias
