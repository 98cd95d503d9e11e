#include "gpu/report.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "core/error.h"

namespace weft {
namespace gpu {
namespace {

// One line of the pipe: kind, then fields, each name and value, all with tabs between them.
std::string cleaned(std::string text) {
  for (char& c : text) {
    if (c == '\t' || c == '\n') c = ' ';
  }
  return text;
}

std::vector<std::string> split(const std::string& line) {
  std::vector<std::string> parts(1);
  for (const char c : line) {
    if (c == '\t') parts.emplace_back();
    else parts.back() += c;
  }
  return parts;
}

bool sameColumns(const Fields& a, const Fields& b) {
  bool same = a.size() == b.size();
  for (size_t i = 0; same && i < a.size(); i++) same = a[i].first == b[i].first;
  return same;
}

// Names where they change, values.
void print(const PartReport& report, const Fields& row) {
  const bool named = !report.rows.empty() && sameColumns(report.rows.back(), row);
  for (int line = named ? 1 : 0; line < 2; line++) {
    printf("%s", report.name.c_str());
    for (const auto& [name, value] : row) printf(" | %s", line == 0 ? name.c_str() : value.empty() ? "-" : value.c_str());
    printf("\n");
  }
}

void take(PartReport& report, Facts& facts, const std::string& line) {
  const std::vector<std::string> parts = split(line.substr(1));
  const std::string& first = parts[0];
  switch (line[0]) {
    case 'R': {
      Fields fields;
      for (size_t i = 0; i + 1 < parts.size(); i += 2) fields.emplace_back(parts[i], parts[i + 1]);
      print(report, fields);
      report.rows.push_back(std::move(fields));
      break;
    }
    case 'N': printf("%s: %s\n", report.name.c_str(), first.c_str()); report.notes.push_back(first); break;
    case 'E': printf("%s: FAILED: %s\n", report.name.c_str(), first.c_str()); report.error = first; break;
    case 'F': if (parts.size() > 1) facts[first] = atof(parts[1].c_str()); break;
    default: break;
  }
  fflush(stdout);
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return out + '"';
}

// Numbers stay numbers.
std::string json(const std::string& value) {
  char* end;
  const double parsed = strtod(value.c_str(), &end);
  return !value.empty() && *end == 0 && std::isfinite(parsed) ? value : quoted(value);
}

std::string json(const Fields& fields) {
  std::string out;
  for (const auto& [name, value] : fields) out += (out.empty() ? "" : ", ") + quoted(name) + ": " + json(value);
  return "{" + out + "}";
}

std::string tableOf(const std::vector<Fields>& rows) {
  std::string out;
  const Fields* before = nullptr;
  for (const Fields& row : rows) {
    if (!before || !sameColumns(*before, row)) {
      std::string names, lines;
      for (const auto& field : row) names += "| " + field.first + " ", lines += "| --- ";
      out += "\n" + names + "|\n" + lines + "|\n";
    }
    for (const auto& field : row) out += "| " + field.second + " ";
    out += "|\n";
    before = &row;
  }
  return out;
}

void writeFile(const std::string& path, const std::string& text) {
  const std::unique_ptr<FILE, int (*)(FILE*)> out(fopen(path.c_str(), "wb"), fclose);
  if (!out || fwrite(text.data(), 1, text.size(), out.get()) != text.size()) throw Error("io_error", path + ": cannot be written.");
}

}  // namespace

std::string number(double value, int digits) {
  if (!std::isfinite(value)) return "";
  std::string text = format("%.*g", digits, value);
  return text.find('e') == std::string::npos || std::fabs(value) < 1 ? text : format("%.0f", value);
}

std::string percent(double part, double whole) { return whole > 0 ? format("%.1f", 100 * part / whole) : ""; }

void Sink::line(char kind, const Fields& fields) {
  std::string text(1, kind);
  for (const auto& [name, value] : fields) text += cleaned(name) + "\t" + cleaned(value) + "\t";
  text.back() = '\n';
  for (size_t at = 0; at < text.size();) {
    const ssize_t written = write(file_, text.data() + at, text.size() - at);
    if (written <= 0) return;            // nobody listens any more
    at += static_cast<size_t>(written);
  }
}

PartReport runApart(const std::string& name, const std::string& title, double limit, Facts& facts, const std::function<void(Sink&)>& work) {
  using Clock = std::chrono::steady_clock;
  PartReport report{name, title, "", {}, {}, 0};
  int ends[2];
  if (pipe(ends) != 0) throw Error("internal_error", "no pipe.");
  fflush(stdout);
  const Clock::time_point begin = Clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(Clock::now() - begin).count(); };
  const pid_t child = fork();
  if (child < 0) throw Error("internal_error", "no process.");
  if (child == 0) {
    close(ends[0]);
    Sink sink(ends[1]);
    try {
      work(sink);
    } catch (const Error& error) {
      sink.error(std::string(error.code) + " · " + error.what());
    } catch (const std::exception& error) {
      sink.error(error.what());
    }
    _exit(0);
  }
  close(ends[1]);
  std::string text;
  bool late = false;
  for (;;) {
    pollfd waiting{ends[0], POLLIN, 0};
    const double left = limit - seconds();
    late = left <= 0 || poll(&waiting, 1, static_cast<int>(left * 1000) + 1) == 0;
    if (late) break;
    char bytes[4096];
    const ssize_t got = read(ends[0], bytes, sizeof bytes);
    if (got <= 0) break;
    text.append(bytes, static_cast<size_t>(got));
    for (size_t end; (end = text.find('\n')) != std::string::npos; text.erase(0, end + 1)) take(report, facts, text.substr(0, end));
  }
  if (late) kill(child, SIGKILL);
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (late) take(report, facts, format("Enot ready after %.0f s", limit));
  else if (WIFSIGNALED(status)) take(report, facts, format("Eended by signal %d", WTERMSIG(status)));
  else if (WEXITSTATUS(status) != 0) take(report, facts, format("Eended with %d", WEXITSTATUS(status)));
  report.seconds = seconds();
  return report;
}

void writeReports(const std::string& folder, const Fields& head, const std::vector<PartReport>& parts) {
  std::string all, markdown = "# weft-gpu-bench\n\n";
  for (const auto& [name, value] : head) markdown += "- " + name + ": " + value + "\n";
  for (const PartReport& part : parts) {
    std::string rows, notes;
    for (const Fields& row : part.rows) rows += (rows.empty() ? "\n      " : ",\n      ") + json(row);
    for (const std::string& note : part.notes) notes += (notes.empty() ? "" : ", ") + quoted(note);
    const std::string error = part.error.empty() ? "null" : quoted(part.error);
    all += all.empty() ? "\n    " : ",\n    ";
    all += "{\"name\": " + quoted(part.name) + ", \"seconds\": " + number(part.seconds) + ", \"error\": " + error;
    all += ", \"notes\": [" + notes + "], \"rows\": [" + rows + "]}";
    markdown += "\n## " + part.title + "\n" + tableOf(part.rows);
    for (const std::string& note : part.notes) markdown += "\n" + note + "\n";
    if (!part.error.empty()) markdown += "\nFailed: " + part.error + "\n";
  }
  writeFile(folder + "/gpu-bench.json", "{\"machine\": " + json(head) + ",\n  \"parts\": [" + all + "]}\n");
  writeFile(folder + "/gpu-bench.md", markdown);
}

}  // namespace gpu
}  // namespace weft
