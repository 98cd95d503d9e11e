// Rows of figures: printed as they come, and written as JSON and Markdown. Every part runs in a process of its own, with a
// time limit: what one breaks, the next finds whole.
#pragma once
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace weft {
namespace gpu {

using Fields = std::vector<std::pair<std::string, std::string>>;
using Facts = std::map<std::string, double>;     // what later parts use of earlier ones

std::string number(double value, int digits = 4);
std::string percent(double part, double whole);  // empty where there is no whole

// Where a part puts what it found.
class Sink {
 public:
  explicit Sink(int file) : file_(file) {}
  void row(const Fields& fields) { line('R', fields); }
  void note(const std::string& text) { line('N', {{text, ""}}); }
  void fact(const std::string& name, double value) { line('F', {{name, number(value, 9)}}); }
  void error(const std::string& text) { line('E', {{text, ""}}); }

 private:
  void line(char kind, const Fields& fields);
  int file_;
};

struct PartReport {
  std::string name, title, error;
  std::vector<Fields> rows;
  std::vector<std::string> notes;
  double seconds = 0;
};

// Runs `work` in a process of its own for at most `limit` seconds, prints what it reports, and adds its facts.
PartReport runApart(const std::string& name, const std::string& title, double limit, Facts& facts, const std::function<void(Sink&)>& work);

// gpu-bench.json and gpu-bench.md in a folder. head: about the machine.
void writeReports(const std::string& folder, const Fields& head, const std::vector<PartReport>& parts);

}  // namespace gpu
}  // namespace weft
